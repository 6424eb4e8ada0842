"""What a test puts in place of worker processes, each of which would spend its time on importing torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def one_after_the_other(work: Callable[..., Any], jobs: Mapping[str, tuple[Any, ...]]) -> list[tuple[str, Any]]:
    """The jobs of `in_workers`, one after the other."""
    return [(name, work(*arguments)) for name, arguments in jobs.items()]
