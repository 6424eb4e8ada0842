"""The logic of Conch's Python-based Triton backends: numpy in, numpy out.

Nothing in here imports Triton's `triton_python_backend_utils`, so every step can be imported and tested
without a server. The thin adaptors in the sibling folders unpack Triton's requests, call this package and
pack the answers.
"""
