"""What the healer makes of a golden request that is not well: of an overloaded server nothing, of a lost one a wish."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conch_tools.healing import healer as module
from conch_tools.healing.diagnosis import Diagnosis, Fault
from conch_tools.healing.golden import Outcome, Symptom
from conch_tools.healing.healer import Healer
from conch_tools.healing.health import Health
from conch_tools.healing.journal import Journal
from conch_tools.healing.metrics import HealingMetrics
from conch_tools.healing.wishes import Wishes
from conch_tools.locks import only_one
from conch_tools.pipelines import Pipeline, load_pipeline
from conch_tools.server.record import loading_lock_path
from conch_tools.settings import Settings

PIPELINE = """
task = "image-classification"
description = "Mood."
source = { folder = "." }
[[samples]]
input = { image = "gone.png" }
expect = { label = "7" }
"""


@dataclass
class World:
    """Stands in for a running server, its control and a client of it."""

    http_url: str = "127.0.0.1:1"
    grpc_url: str = "127.0.0.1:1"
    admin_key: str = "key"
    pid: int = 1
    live: bool = True
    completed: int = 0
    silent: list[str] = field(default_factory=list)
    outcome: Outcome = field(default_factory=lambda: Outcome(Symptom.WELL))
    wanted: list[tuple[str, Symptom]] = field(default_factory=list)
    wishes: Wishes = field(default_factory=Wishes)

    @property
    def stubs(self) -> World:
        return self

    def of(self, models: Sequence[str]) -> list[Any]:
        return []

    def is_live(self, *, timeout_s: float) -> bool:
        return self.live

    def model_ready(self, name: str) -> bool:
        return True

    def statistics(self, name: str) -> list[Any]:
        assert name == "mood", "the ensemble alone is counted"
        return [SimpleNamespace(success=SimpleNamespace(count=self.completed))]

    def ready_models(self) -> list[str]:
        return []

    def config(self, model: str) -> dict[str, Any]:
        return {}


Ask = Callable[..., None]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(module, "Client", lambda *_, **__: world)
    monkeypatch.setattr(module, "Control", lambda *_: world)
    monkeypatch.setattr(module, "ask_golden", lambda *_: world.outcome)
    monkeypatch.setattr(module, "diagnosed", lambda *_: Diagnosis([], world.silent))
    monkeypatch.setattr(module, "ASKED_AGAIN_AFTER_S", 0.0)
    # Two failures in a row are as far apart as they must be.
    monkeypatch.setattr("conch_tools.healing.silence.UNREACHABLE_FOR_S", 0.0)
    return world


@pytest.fixture
def mood(tmp_path: Path) -> Pipeline:
    folder = tmp_path / "mood"
    folder.mkdir()
    (folder / "pipeline.toml").write_text(PIPELINE)
    return load_pipeline(folder)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state=tmp_path, busy_limit_s=1e-9)


@pytest.fixture
def ask(world: World, mood: Pipeline, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Let one golden request of `mood` come out so."""
    healers: dict[bool, Healer] = {}

    def asked(symptom: Symptom, heal: bool = True) -> None:
        if heal not in healers:
            journal = Journal(Health(["mood"]), HealingMetrics(), lambda _: None)
            given = settings.model_copy(update={"heal": heal})
            healers[heal] = Healer(world, given, [mood], journal, world.wishes)  # type: ignore[arg-type]
            note: Callable[[Fault], None] = lambda fault: world.wanted.append((fault.model, fault.symptom))  # noqa: E731
            monkeypatch.setattr(healers[heal]._mender, "want", note)
        world.outcome = Outcome(symptom, symptom.value)
        healers[heal]._ask_one(mood)

    return asked


@pytest.mark.parametrize("symptom", [Symptom.UNREACHABLE, Symptom.SILENT])
def test_a_server_that_says_that_it_lives_is_not_replaced(world: World, ask: Ask, symptom: Symptom) -> None:
    for _ in range(3):
        ask(symptom)
    assert world.wishes.pending is None


@pytest.mark.parametrize("symptom", [Symptom.UNREACHABLE, Symptom.SILENT])
def test_a_server_that_nobody_reaches_is_replaced_and_none_of_its_models_repaired(
    world: World, ask: Ask, symptom: Symptom
) -> None:
    world.live = False
    ask(symptom)
    ask(symptom)
    assert world.wishes.pending == "it answers nobody since 5 s" and world.wanted == []


def test_a_server_that_may_not_be_healed_is_not_replaced(world: World, ask: Ask) -> None:
    world.live = False
    for _ in range(3):
        ask(Symptom.UNREACHABLE, heal=False)
    assert world.wishes.pending is None


def test_of_a_pipeline_that_completes_nothing_the_silent_models_alone_are_repaired(world: World, ask: Ask) -> None:
    world.silent = ["mood_labels"]
    ask(Symptom.SILENT)
    assert world.wanted == []
    ask(Symptom.SILENT)
    assert world.wanted == [("mood_labels", Symptom.SILENT)]


def test_a_pipeline_that_completes_something_is_busy(world: World, ask: Ask) -> None:
    world.silent = ["mood_labels"]
    for world.completed in range(4):
        ask(Symptom.SILENT)
    assert world.wanted == []


def test_nothing_is_repaired_while_models_are_loaded(world: World, ask: Ask, settings: Settings) -> None:
    with only_one(loading_lock_path(settings), 0, lambda: None):
        ask(Symptom.ABSENT)
    assert world.wanted == []
    ask(Symptom.ABSENT)
    assert world.wanted == [("mood", Symptom.ABSENT)]
