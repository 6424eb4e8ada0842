"""What can go wrong in a tuning."""

from __future__ import annotations

from conch_tools.errors import ConchError


class CandidateRejected(ConchError):
    """A candidate did not load, failed requests or answered wrongly: whatever its speed, it is out."""

    exit_code = 10


class NothingToTune(ConchError):
    """The pipeline has no step whose settings could be changed."""

    exit_code = 2


class ProfileTaken(ConchError):
    """A profile of that name is there and was not written by a tuning."""

    exit_code = 2
