"""Turns in rounds: every entry once a round, forwards and backwards by turns, so that drift hits all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from conch_tools.bench.comparison import Measured
from conch_tools.bench.contenders import Contender, Turn
from conch_tools.bench.others import OthersLoad

Entry = tuple[Contender, int]
"""A contender and the number of its requests in flight."""
SETTLE_S = 0.3
"""Between turns, so that what one leaves running does not fall into the next."""


def measure(entries: Sequence[Entry], rounds: int, seconds: float, report: Callable[[str], None]) -> list[Measured]:
    """What each entry did in `rounds` turns of `seconds`, in the order of `entries`."""
    turns: list[list[Turn]] = [[] for _ in entries]
    others: list[list[float]] = [[] for _ in entries]
    for number in range(rounds):
        order = range(len(entries)) if number % 2 == 0 else reversed(range(len(entries)))
        for index in order:
            contender, concurrency = entries[index]
            time.sleep(SETTLE_S)
            load = OthersLoad()
            turn = contender.turn(seconds, concurrency)
            others[index].append(load.cores())
            turns[index].append(turn)
            report(
                f"round {number + 1} of {rounds}: {contender.name}, concurrency {concurrency}: "
                f"{turn.requests_per_s:.1f} requests/s"
            )
    return [
        Measured(contender.name, contender.setup, concurrency, turns[index], others[index])
        for index, (contender, concurrency) in enumerate(entries)
    ]
