"""Wishes for a new tritonserver: what loading a model anew does not cure.

Whoever notices only wishes; the supervisor's main loop grants it, because a server must be started by a thread that
outlives it. The wishes outlive the servers: what one new server did not cure, another will not either, and everybody
else would pay for the attempt.
"""

from __future__ import annotations

from collections.abc import Collection


class Wishes:
    """Of one supervisor. Safe to use from several threads."""

    def __init__(self) -> None:
        self.pending: str | None = None
        """Why a new server is needed, as what follows "because"; None while it is not."""
        self._cost_a_server: set[str] = set()

    def wish(self, why: str, model: str | None = None) -> None:
        """Have the server replaced; for the sake of one model only once, until that is well."""
        if model is not None:
            if model in self._cost_a_server:
                return
            self._cost_a_server.add(model)
        self.pending = why

    def well(self, models: Collection[str]) -> None:
        """These models serve: should they fail later, it is another matter."""
        self._cost_a_server.difference_update(models)

    def forget(self) -> None:
        """The server that was to be replaced is gone."""
        self.pending = None
