"""Who leaves when memory is short: the least recently used, as many as it takes, and nobody in vain.

Releases of a pipeline share the steps that did not change, so what leaving frees depends on who leaves with it: a
model's memory is free when nobody is left who needs it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

Part = tuple[str, int]
"""A model and its version."""


@dataclass(frozen=True)
class Resident:
    """A pipeline, or a release, that is in memory."""

    name: str
    parts: frozenset[Part]
    """What its own steps are."""
    uses: frozenset[str]
    """The pipelines that it calls, which stay as long as it does."""
    last_used: float
    """Seconds of a monotonic clock."""
    is_well: bool = True
    """One that is ill is being repaired: it does not leave."""


def leaving(
    residents: Sequence[Resident], sizes: Mapping[Part, int], excess: int, idle_since: float
) -> Sequence[Resident]:
    """Who leaves so that `excess` bytes are freed, or as many as may be; callers before what they call.

    Whoever was used after `idle_since` stays.
    """
    staying = {each.name: each for each in residents}
    going: list[Resident] = []
    while freed(going, staying.values(), sizes) < excess:
        called = {name for each in staying.values() for name in each.uses}
        idle = [
            each
            for each in staying.values()
            if each.is_well and each.last_used <= idle_since and each.name not in called
        ]
        if not idle:
            break
        going.append(min(idle, key=lambda each: (each.last_used, each.name)))
        del staying[going[-1].name]
    enough = min(excess, freed(going, staying.values(), sizes))
    for each in reversed(list(going)):
        others = [other for other in going if other is not each]
        if each.uses.isdisjoint(other.name for other in others) and (
            freed(others, [*staying.values(), each], sizes) >= enough
        ):
            going, staying[each.name] = others, each
    return going


def freed(going: Collection[Resident], staying: Collection[Resident], sizes: Mapping[Part, int]) -> int:
    """The bytes of what nobody needs who stays."""
    needed = {part for each in staying for part in each.parts}
    return sum(sizes.get(part, 0) for part in {part for each in going for part in each.parts} - needed)
