"""How an exception of a step reads in Triton's messages: as pybind11 writes it, with the calls that led there."""

from __future__ import annotations

from pathlib import Path

from conch_tools.step_kit.tensors import TritonModelException

_KIT = str(Path(__file__).parent)


def as_pybind_says(problem: BaseException) -> str:
    """The exception with its innermost call first, down to the one that Triton made; the backend's own without any.

    After error_fetch_and_normalize of pybind11.
    """
    if isinstance(problem, TritonModelException) and _raised_by_kit(problem):
        return str(problem)
    lines = [f"{type(problem).__name__}: {problem}"]
    trace = problem.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    frame = None if trace is None else trace.tb_frame
    if frame is not None:
        lines += ["", "At:"]
        while frame is not None and not frame.f_code.co_filename.startswith(_KIT):
            lines.append(f"  {frame.f_code.co_filename}({frame.f_lineno}): {frame.f_code.co_name}")
            frame = frame.f_back
        lines.append("")
    return "\n".join(lines)


def _raised_by_kit(problem: BaseException) -> bool:
    """Raised in C++ there, and not by code of the step or below it."""
    trace = problem.__traceback__
    frames = []
    while trace is not None:
        frames.append(trace.tb_frame.f_code.co_filename)
        trace = trace.tb_next
    return all(file.startswith(_KIT) or file.endswith("contextlib.py") for file in frames)
