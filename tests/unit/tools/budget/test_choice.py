"""Who leaves when memory is short."""

from __future__ import annotations

from conch_tools.budget.choice import Resident, leaving

SIZES = {("a_model", 1): 100, ("b_model", 1): 100, ("c_model", 1): 40, ("a_words", 1): 10}
NOW = 1000.0


def resident(name: str, last_used: float, *, uses: tuple[str, ...] = (), is_well: bool = True) -> Resident:
    """With the model of the same name."""
    return Resident(name, frozenset({(f"{name}_model", 1)}), frozenset(uses), last_used, is_well)


def names(residents: list[Resident], excess: int, idle_since: float = NOW) -> list[str]:
    return [each.name for each in leaving(residents, SIZES, excess, idle_since)]


def test_the_least_recently_used_leaves_and_as_many_as_it_takes() -> None:
    three = [resident("a", 3), resident("b", 1), resident("c", 2)]
    assert names(three, 50) == ["b"]
    assert names(three, 120) == ["b", "c"]
    assert names(three, 150) == ["b", "a"], "without `c`, which would leave in vain"
    assert names(three, 1000) == ["b", "c", "a"], "as much as there is"
    assert names(three, 0) == []


def test_who_is_in_use_or_ill_stays() -> None:
    assert names([resident("a", 3), resident("b", 1)], 50, idle_since=0.5) == []
    assert names([resident("a", 3), resident("b", 7)], 500, idle_since=5) == ["a"]
    assert names([resident("a", 3), resident("b", 1, is_well=False)], 50) == ["a"]


def test_who_is_called_stays_as_long_as_a_caller_does() -> None:
    called, caller = resident("a", 1), resident("b", 2, uses=("a",))
    assert names([called, caller], 50) == ["b"]
    assert names([called, caller], 150) == ["b", "a"], "the caller first"
    assert names([called, caller], 150, idle_since=1.5) == []


def test_releases_that_share_all_steps_free_nothing_but_together() -> None:
    parts = frozenset({("a_model", 1), ("a_words", 1)})
    served = [Resident("a", parts, frozenset(), 1), Resident("a-v1", parts, frozenset(), 2), resident("b", 3)]
    assert names(served, 50) == ["a", "a-v1"]
    assert names(served, 50, idle_since=1.5) == [], "one alone would leave in vain"


def test_what_releases_share_stays_with_the_one_that_stays() -> None:
    older = Resident("a-v1", frozenset({("a_model", 1), ("a_words", 1)}), frozenset(), 1)
    newer = Resident("a", frozenset({("b_model", 1), ("a_words", 1)}), frozenset(), 2)
    assert names([older, newer], 100) == ["a-v1"]
    assert names([older, newer], 105) == ["a-v1", "a"], "the words are needed by both"
