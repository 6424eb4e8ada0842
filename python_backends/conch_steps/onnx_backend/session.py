"""The one place that talks to onnxruntime: session and run options, and its errors as ours.

Sessions are made from the file's path, never from bytes, so that external data is mapped and not read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

import onnxruntime
from conch_steps.errors import InvalidInput, ModelConfigError, StepError, WrongAnswer
from conch_steps.onnx_backend.batch import Tensors
from conch_steps.onnx_backend.settings import SessionSettings
from conch_steps.onnx_backend.signature import GraphSignature

ort: Any = onnxruntime  # mypy finds the folder python_backends/onnxruntime instead of the wheel

PROVIDERS = ("CPUExecutionProvider",)
LOG_FATAL = 4


class Session:
    """One onnxruntime session and the options that every run of it takes."""

    def __init__(self, model: str, path: Path, settings: SessionSettings) -> None:
        """Raises ModelConfigError when onnxruntime cannot load the file or a custom op library."""
        self._model = model
        try:
            self._session = ort.InferenceSession(
                str(path), sess_options=_session_options(settings), providers=list(PROVIDERS)
            )
        except Exception as exc:
            raise ModelConfigError(f"onnxruntime cannot load model '{model}': {_plain(exc)}") from exc
        self._run_options = _run_options(settings)
        self.signature = GraphSignature.from_session(self._session)

    def run(self, outputs: Sequence[str], feeds: Tensors) -> list[npt.NDArray[Any]]:
        """The named outputs for one batch of inputs.

        Raises InvalidInput for what onnxruntime calls an invalid argument (a shape, or an index that the data
        holds), WrongAnswer for every other failure.
        """
        try:
            return list(self._session.run(outputs, feeds, self._run_options))
        except Exception as exc:
            raise self._translated(exc) from exc

    def _translated(self, exc: Exception) -> StepError:
        # onnxruntime's exceptions have no common root, so there is nothing narrower to catch than Exception.
        kind = InvalidInput if isinstance(exc, ort_errors.InvalidArgument) else WrongAnswer
        return kind(f"model '{self._model}' failed: {_plain(exc)}")


def _session_options(settings: SessionSettings) -> Any:
    options = ort.SessionOptions()
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, settings.graph_level)
    mode = ort.ExecutionMode
    options.execution_mode = mode.ORT_PARALLEL if settings.parallel else mode.ORT_SEQUENTIAL
    options.intra_op_num_threads = settings.threads(len(os.sched_getaffinity(0)))
    if settings.inter_op_threads:
        options.inter_op_num_threads = settings.inter_op_threads
    if settings.memory_arena is not None:
        options.enable_cpu_mem_arena = settings.memory_arena
    if settings.memory_pattern is not None:
        options.enable_mem_pattern = settings.memory_pattern
    for key, value in settings.session_entries.items():
        options.add_session_config_entry(key, value)
    for library in settings.op_libraries:
        options.register_custom_ops_library(library)
    return options


def _run_options(settings: SessionSettings) -> Any:
    options = ort.RunOptions()
    # A failed run is answered to its caller; onnxruntime would log it once more for every attempt.
    options.log_severity_level = LOG_FATAL
    for key, value in settings.run_entries.items():
        options.add_run_config_entry(key, value)
    return options


_PREFIX = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")
_NODE = re.compile(r"Non-zero status code returned while running (\w+) node\. Name:'(.*?)' Status Message: ", re.DOTALL)
_SOURCE = re.compile(r"/\S+\.(?:cc|h):\d+ .*?\) (?=\S)")


def _plain(exc: Exception) -> str:
    """onnxruntime's message on one line, without its error numbers and C++ source positions."""
    text = _PREFIX.sub("", str(exc))
    text = _NODE.sub(lambda node: f"{node[1]} node '{node[2]}': ", text)
    return " ".join(_SOURCE.sub("", text).split())
