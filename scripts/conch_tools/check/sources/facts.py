"""All that is known of one source, worked out once however many models it serves and rules ask."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

from conch_tools.check.sources.arrays import Arrays
from conch_tools.check.sources.calls import Calls
from conch_tools.check.sources.effects import Effects
from conch_tools.check.sources.requests import Requests
from conch_tools.check.sources.responses import Responses
from conch_tools.check.sources.rounds import Rounds
from conch_tools.check.sources.source import KEPT, Source
from conch_tools.check.sources.tensors import Tensors


@dataclass(frozen=True, eq=False)
class Facts:
    """A source, subject by subject."""

    source: Source

    @cached_property
    def requests(self) -> Requests:
        """What becomes of the requests."""
        return Requests(self.source)

    @cached_property
    def tensors(self) -> Tensors:
        """Which tensors are read and made."""
        return Tensors(self.source, self.requests)

    @cached_property
    def arrays(self) -> Arrays:
        """What is done with the batch of an input."""
        return Arrays(self.source, self.tensors, self.responses)

    @cached_property
    def responses(self) -> Responses:
        """How the requests are answered."""
        return Responses(self.source, self.requests)

    @cached_property
    def rounds(self) -> Rounds:
        """Whether each request gets its response."""
        return Rounds(self.source, self.requests, self.responses)

    @cached_property
    def calls(self) -> Calls:
        """What other models are asked."""
        return Calls(self.source)

    @cached_property
    def effects(self) -> Effects:
        """What is imported, fetched and written."""
        return Effects(self.source)


@lru_cache(KEPT)
def facts_of(source: Source) -> Facts:
    """The facts of a source, the same ones each time."""
    return Facts(source)
