"""The mender loads what is wanted anew until it helps, and wishes for a new server only where one could help."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import pytest

from conch_tools.healing import mender as module
from conch_tools.healing.control import ControlFailed, Refused, Unanswered
from conch_tools.healing.diagnosis import Fault
from conch_tools.healing.golden import Symptom
from conch_tools.healing.health import Health
from conch_tools.healing.journal import Journal
from conch_tools.healing.mender import FRUITLESS_REPAIRS, Mender
from conch_tools.healing.metrics import HealingMetrics
from conch_tools.healing.wishes import Wishes
from conch_tools.server.stubs import Stub

OLD = Stub(4711, "mood", "1")


@dataclass
class World:
    """Stands in for a server: what Triton says to loads, and which models are well afterwards."""

    wishes: Wishes = field(default_factory=Wishes)
    refusal: ControlFailed | None = None
    well: set[str] = field(default_factory=set)
    did: list[str] = field(default_factory=list)

    def repair(self, model: str, stubs: Iterable[Stub] = ()) -> None:
        self.did.append(f"load {model}")
        if self.refusal is not None:
            raise self.refusal

    def of(self, models: Collection[str]) -> list[Stub]:
        return [OLD] if OLD.model in models else []

    def has_helped(self, fault: Fault) -> bool:
        self.did.append(f"ask {fault.model}")
        return fault.model in self.well

    @property
    def loads(self) -> int:
        return sum(each.startswith("load") for each in self.did)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.001)
    return World()


@pytest.fixture
def mender(world: World) -> Mender:
    journal = Journal(Health([]), HealingMetrics(), lambda _: None)
    return Mender(world, world, world.has_helped, journal, world.wishes)  # type: ignore[arg-type]


def test_what_died_together_is_loaded_before_anything_is_asked(world: World, mender: Mender) -> None:
    world.well = {"mood", "moon"}
    mender.want(Fault("mood", Symptom.DEAD))
    mender.want(Fault("moon", Symptom.DEAD))
    mender.want(Fault("mood", Symptom.DEAD))
    mender.mend()
    assert world.did == ["load mood", "load moon", "ask mood", "ask moon"]


def test_a_model_that_loading_does_not_cure_costs_one_new_server(world: World, mender: Mender) -> None:
    mender.want(Fault("mood", Symptom.DEAD))
    for _ in range(FRUITLESS_REPAIRS):
        mender.mend()
    assert world.wishes.pending == f"loading model `mood` anew did not help {FRUITLESS_REPAIRS} times"
    world.wishes.forget()
    mender.mend()
    assert world.loads == FRUITLESS_REPAIRS + 1 and world.wishes.pending is None


def test_a_model_that_triton_refuses_costs_no_new_server(world: World, mender: Mender) -> None:
    world.refusal = Refused("its file is damaged")
    mender.want(Fault("mood", Symptom.DEAD))
    for _ in range(FRUITLESS_REPAIRS + 2):
        mender.mend()
    assert world.loads == FRUITLESS_REPAIRS + 2 and world.wishes.pending is None


def test_a_load_that_nobody_answers_costs_a_new_server(world: World, mender: Mender) -> None:
    world.refusal = Unanswered("no answer within 180 s")
    mender.want(Fault("mood", Symptom.DEAD))
    mender.mend()
    assert world.wishes.pending == "model `mood` cannot be loaded anew: no answer within 180 s"


def test_the_end_of_a_process_is_expected_only_when_its_model_was_loaded(world: World, mender: Mender) -> None:
    world.refusal = Refused("its file is damaged")
    mender.want(Fault("mood", Symptom.WRONG))
    mender.mend()
    assert not mender.has_replaced(OLD)
    world.refusal = None
    mender.mend()
    assert mender.has_replaced(OLD)
    assert not mender.has_replaced(Stub(OLD.pid, "moon", "1")), "ids are used again"


def test_a_new_fault_of_a_model_with_an_unsolved_one_is_repaired_at_once(
    world: World, mender: Mender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 1000.0)
    mender.want(Fault("mood", Symptom.WRONG))
    mender.mend()
    mender.want(Fault("mood", Symptom.WRONG))
    mender.mend()
    assert world.loads == 1, "the same fault waits for its time"
    mender.want(Fault("mood", Symptom.DEAD))
    mender.mend()
    assert world.loads == 2


def test_what_somebody_else_has_mended_is_not_loaded_again(world: World, mender: Mender) -> None:
    mender.want(Fault("mood", Symptom.WRONG))
    mender.mend()
    world.well = {"mood"}
    mender.mend()
    assert world.loads == 1


def test_a_model_that_got_well_may_cost_a_server_again() -> None:
    wishes = Wishes()
    wishes.wish("the first", "mood")
    wishes.forget()
    wishes.wish("the second", "mood")
    assert wishes.pending is None
    wishes.well(["mood"])
    wishes.wish("the third", "mood")
    assert wishes.pending == "the third"
