"""`conch gpu-check`: what this machine has for serving models, and how every pipeline answers on it.

Looking (gpus, runtimes, findings, report) needs Python's standard library alone, so that a bare GPU machine can at
least say what it is; running the pipelines (samples, run) needs what `conch serve` needs. What is absent is named, and
only a wrong answer or a server that does not start makes the command fail.
"""
