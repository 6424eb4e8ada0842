"""What can go wrong in a measurement: a contender that does not start, fails to answer or answers wrongly."""

from __future__ import annotations

from conch_tools.errors import ConchError


class ContenderFailed(ConchError):
    """A contender of a measurement did not start, failed to answer, or answered differently from the others."""

    exit_code = 10
