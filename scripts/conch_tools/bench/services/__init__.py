"""The services that Conch is measured against, each as its own documentation would have a user write it.

They run as child processes: `python -m conch_tools.bench.services.<name> MODEL_FOLDER PORT`. Each answers
POST {"text": "..."} with {"embedding": [...]} and GET /health with 200 once it can.
"""
