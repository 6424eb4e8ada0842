"""Golden requests are no use of a pipeline; all else is."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from conch_tools.budget.uses import Uses


@dataclass
class World:
    """The clock, and what Triton has answered."""

    now: float = 0.0
    answered: int = 0


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def uses(world: World) -> Uses:
    """Of a pipeline that was loaded at 0 and looked at once."""
    uses = Uses(lambda: world.now)
    uses.begin("mood")
    uses.look("mood", lambda: world.answered)
    return uses


def look(uses: Uses, world: World, now: float) -> float:
    """When the pipeline was used last, looked at now."""
    world.now = now
    uses.look("mood", lambda: world.answered)
    return uses.last("mood")


def golden(uses: Uses, world: World, count: int) -> None:
    with uses.golden("mood", count) as answered:
        world.answered += count
        answered(count)


def test_a_request_of_a_caller_is_use_and_a_golden_one_is_not(uses: Uses, world: World) -> None:
    golden(uses, world, 2)
    assert look(uses, world, 5) == 0
    golden(uses, world, 2)
    world.answered += 1
    assert look(uses, world, 6) == 6
    assert look(uses, world, 7) == 6


def test_a_golden_request_under_way_hides_no_more_than_itself(uses: Uses, world: World) -> None:
    with uses.golden("mood", 1) as answered:
        world.answered += 1
        assert look(uses, world, 5) == 0, "it may be the golden one"
        world.answered += 10
        assert look(uses, world, 6) == 6
        answered(1)
    assert look(uses, world, 7) == 6
    golden(uses, world, 1)
    assert look(uses, world, 8) == 6


def test_a_golden_request_that_is_answered_while_triton_is_asked_is_no_use(uses: Uses, world: World) -> None:
    def meanwhile() -> int:
        golden(uses, world, 1)
        return world.answered

    world.now = 5
    uses.look("mood", meanwhile)
    assert uses.last("mood") == 0
    assert look(uses, world, 6) == 0


def test_a_pipeline_that_was_loaded_anew_counts_from_nothing(uses: Uses, world: World) -> None:
    world.answered = 50
    assert look(uses, world, 5) == 5
    world.answered = 0
    assert look(uses, world, 6) == 5
    world.answered = 1
    assert look(uses, world, 7) == 7
