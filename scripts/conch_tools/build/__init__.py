"""`conch build`: from a source model to artifacts that are proven equal to it.

Artifacts are made in a staging repository and checked there, first the graph and then the whole ensemble in the running
server; only what passes is moved into the model repository. An interrupted or refused build leaves nothing behind.
"""
