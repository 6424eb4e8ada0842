"""Releases: versions of a whole pipeline, which are built, served beside each other, switched and pinned as one.

Triton's versions are those of single models, and an ensemble's steps would be switched one by one: a text tokenised for
one release would meet the model of another. So a release says which version of every step belongs to it. The ensemble
`sentiment` is served as one release at a time, by pinned numbers, and loading an ensemble anew is one step for Triton;
every release also has an ensemble of its own, `sentiment-v1`. All of it is plain files that any Triton serves alike.
"""
