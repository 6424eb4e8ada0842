"""Rounds: everyone has a turn in each, forwards and backwards by turns."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from conch_tools.bench.contenders import Turn
from conch_tools.bench.rounds import measure


@dataclass
class Noted:
    """A contender that only notes when it was its turn."""

    name: str
    calls: list[str]
    setup: str = "by hand"
    rates: list[float] = field(default_factory=lambda: [1.0, 2.0, 3.0])

    def turn(self, seconds: float, concurrency: int) -> Turn:
        self.calls.append(f"{self.name}{concurrency}")
        return Turn(self.rates.pop(0) * seconds, 0.0)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conch_tools.bench.rounds.SETTLE_S", 0.0)


def test_every_other_round_runs_backwards() -> None:
    calls: list[str] = []
    entries = [(Noted("a", calls), 16), (Noted("b", calls), 16), (Noted("c", calls), 32)]
    measure(entries, 3, 1.0, lambda line: None)
    assert calls == ["a16", "b16", "c32", "c32", "b16", "a16", "a16", "b16", "c32"]


def test_turns_stay_with_their_entry_in_the_order_of_rounds() -> None:
    calls: list[str] = []
    first, second = measure([(Noted("a", calls), 8), (Noted("b", calls), 4)], 2, 10.0, lambda line: None)
    assert (first.name, first.setup, first.concurrency) == ("a", "by hand", 8)
    assert first.rates == second.rates == [10.0, 20.0]
    assert len(first.others_cores) == 2 and min(first.others_cores) >= 0


def test_each_turn_is_reported() -> None:
    said: list[str] = []
    measure([(Noted("a", []), 8)], 2, 1.0, said.append)
    assert said[1] == "round 2 of 2: a, concurrency 8: 2.0 requests/s"
