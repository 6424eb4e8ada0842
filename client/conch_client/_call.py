"""One call: what it is about and until when. Every error of the call is made from these facts.

A call has one deadline from its first byte to its last, whatever it needs on the way: learning the model's
metadata and the inference share it, and so will retries.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from numbers import Real
from typing import TypeVar

from ._constants import LONGEST_TIMEOUT_S
from ._errors import ConchError, DeadlineExceeded, InvalidInput, shown

SomeError = TypeVar("SomeError", bound=ConchError)


class Deadline:
    """A point in monotonic time, `timeout_s` seconds from now; `math.inf` for none."""

    __slots__ = ("_ends", "timeout_s")

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._ends = time.monotonic() + timeout_s if timeout_s <= LONGEST_TIMEOUT_S else math.inf

    def remaining_s(self) -> float:
        """Seconds left: infinite without a limit, zero or less when the time is up."""
        return self._ends - time.monotonic()


@dataclass(frozen=True)
class Call:
    """The facts of one call. `version` is the one asked for, empty for the server's choice."""

    endpoint: str
    deadline: Deadline
    model: str = ""
    version: str = ""
    request_id: str = ""

    def error(self, kind: type[SomeError], problem: str) -> SomeError:
        return kind(
            problem,
            model=self.model,
            version=self.version,
            endpoint=self.endpoint,
            request_id=self.request_id,
        )

    def time_left_s(self) -> float | None:
        """Seconds for the next step of the call, None for no limit. Raises DeadlineExceeded when there are
        none.
        """
        left = self.deadline.remaining_s()
        if left <= 0:
            raise self.error(DeadlineExceeded, out_of_time(self.deadline.timeout_s))
        return None if math.isinf(left) else left

    def time_left_us(self) -> int | None:
        """The same in whole microseconds, as Triton counts the time in its queues."""
        left = self.time_left_s()
        return None if left is None else max(1, int(left * 1e6))


def out_of_time(timeout_s: float) -> str:
    return f"no answer within {timeout_s:g} s: allow more time with timeout_s, or ask for less at once"


def checked_timeout(timeout_s: object) -> float:
    """The limit as a float. Raises InvalidInput for what is no positive number of seconds."""
    try:
        seconds = float(timeout_s) if isinstance(timeout_s, Real) and not isinstance(timeout_s, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        # numpy's spans of time call themselves whole numbers, and an int may be beyond all floats.
        seconds = math.nan
    if not seconds > 0:
        problem = f"timeout_s is a positive number of seconds (math.inf for no limit), got {shown(timeout_s)}"
        raise InvalidInput(problem)
    return seconds
