"""Lies beside model.py, and imports Triton's module as well."""

import triton_python_backend_utils as pb_utils


def deep(cause):
    assert pb_utils.Tensor
    raise ValueError(cause)
