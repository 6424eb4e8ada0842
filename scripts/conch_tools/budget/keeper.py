"""The keeper: it has the least recently used pipelines of one server leave when memory is short, and brings them back.

To leave is an unload as `conch unload` does it: whoever asked before is answered, and steps that others need stay. It
holds the locks of a load, so that loads, healing and the keeper do not meet, and the healer learns of it as of a load.
What comes back has the configurations that it had, and must answer its golden requests.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus

from conch_client import Client
from conch_tools.budget.choice import Part, Resident, freed, leaving
from conch_tools.budget.demands import Brought, Demands
from conch_tools.errors import ConchError
from conch_tools.healing.control import Control, ControlFailed
from conch_tools.healing.golden import Symptom, ask_golden, golden_samples
from conch_tools.healing.journal import Journal
from conch_tools.healing.loads import note_load
from conch_tools.healing.needs import Needs
from conch_tools.healing.repair import Config, Configs, is_ensemble, stamped, steps_of
from conch_tools.healing.unload import take_out
from conch_tools.locks import Locked, only_one
from conch_tools.pipelines import Pipeline
from conch_tools.releases.folders import pipelines_named
from conch_tools.releases.signatures import require_signed
from conch_tools.releases.switch import LATEST, await_answered, restamped, wants, with_versions
from conch_tools.server import EmbeddedServer
from conch_tools.server.memory import memory_of
from conch_tools.server.record import load_lock_path, loading_lock_path
from conch_tools.settings import Settings

MIB = 1 << 20
END_S = 0.5
"""For the keeper's thread to end."""


@dataclass(frozen=True)
class Evicted:
    """What it takes to bring a pipeline back."""

    configs: Configs
    """Of its ensembles and its steps, as they were."""
    bytes: int
    """Of its own steps: what it will need about."""


Away = dict[str, Evicted]
"""The evicted pipelines of one supervisor: what one server had leave, the next one does not have either."""


class Keeper:
    """Keeps one running server within its budget. Use it as a context manager around the time that the server is held;
    without a budget it does nothing."""

    def __init__(
        self, server: EmbeddedServer, settings: Settings, journal: Journal, demands: Demands, away: Away
    ) -> None:
        self._server = server
        self._settings = settings
        self._journal = journal
        self._demands = demands
        self._away = away
        self._budget = None if settings.memory_budget_mib is None else int(settings.memory_budget_mib * MIB)
        self._is_passed = False
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="keeper", daemon=True)

    def __enter__(self) -> Keeper:
        if self._budget is not None:
            self._control = Control(self._server.http_url, self._server.admin_key)
            self._client = Client(self._server.grpc_url, timeout_s=self._settings.answer_timeout_s)
            self._pid, self._stubs = self._server.pid, self._server.stubs
            for name in self._journal.health.in_memory():
                self._journal.uses.begin(name)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._budget is not None:
            self._ending.set()
            self._demands.wake()
            self._client.close()
            self._thread.join(END_S)

    def _keep(self) -> None:
        while not self._ending.is_set():
            wanted = self._demands.take(self._settings.golden_interval_s)
            if wanted is not None:
                self._demands.settle(wanted, self._brought(wanted))
                continue
            if self._ending.is_set():
                return
            try:
                self._look()
            except Locked:
                # A load is under way: next time.
                continue
            except Exception as problem:
                # A fault of ours, or a server that ends meanwhile, must not end the keeping.
                if not self._ending.is_set():
                    self._journal.report(f"keeping the memory budget met {type(problem).__name__}: {problem}")

    def _look(self) -> None:
        """See who was used, and have some leave when the budget is passed."""
        self._mind_loads()
        for name in self._journal.health.in_memory():
            with contextlib.suppress(ControlFailed):
                self._journal.uses.look(name, partial(self._answered, name))
        excess = self._excess()
        if excess <= 0:
            self._is_passed = False
            return
        with self._changing(0):
            self._make_room(excess)

    def _answered(self, pipeline: str) -> int:
        return int(self._control.statistics(pipeline)["inference_stats"]["success"]["count"])

    def _mind_loads(self) -> None:
        """What others loaded or unloaded for good is not evicted any more."""
        for name in list(self._away):
            health = self._journal.health.of(name)
            if health is None:
                del self._away[name]
            elif health.evicted and self._control.is_ready(name):
                del self._away[name]
                self._journal.back(name)
                self._tell()

    def _excess(self) -> int:
        """Bytes over the budget; negative when there is room."""
        memory = memory_of(self._pid).bytes
        self._journal.metrics.memory.set(memory)
        return memory - (self._budget or 0)

    @contextlib.contextmanager
    def _changing(self, patience_s: float) -> Iterator[None]:
        """Raises Locked when a load is under way for longer."""
        with (
            only_one(load_lock_path(self._settings), patience_s, lambda: None),
            only_one(loading_lock_path(self._settings), patience_s, lambda: None),
        ):
            yield

    def _tell(self) -> None:
        """The healer reads anew who is served."""
        note_load(self._settings, list(self._journal.health.all()))

    def _make_room(self, excess: int) -> None:
        """Free so many bytes, as far as pipelines are idle."""
        loaded = self._loaded()
        sizes = self._sizes()
        residents = self._residents(loaded, sizes)
        idle_since = time.monotonic() - self._settings.memory_hold_s
        going = leaving(residents, sizes, excess, idle_since)
        staying = [each for each in residents if each not in going]
        if freed(going, staying, sizes) < excess and not self._is_passed:
            self._is_passed = True
            self._journal.metrics.budget_passed.inc()
            self._journal.report(
                f"the memory budget is passed by {excess / MIB:.0f} MiB, and "
                + ("all pipelines are in use" if not going else "all others are in use")
            )
        if going:
            self._evict(going, staying, loaded, sizes)

    def _evict(
        self,
        going: Sequence[Resident],
        staying: Sequence[Resident],
        loaded: Configs,
        sizes: Mapping[Part, int],
    ) -> None:
        needed = {model for each in staying for model, _ in each.parts} | {each.name for each in staying}
        for each in going:
            models = [each.name, *dict.fromkeys(model for model, _ in sorted(each.parts))]
            own = sum(sizes.get(part, 0) for part in each.parts)
            self._away[each.name] = Evicted({model: loaded[model] for model in models if model in loaded}, own)
            idle_s = time.monotonic() - each.last_used
            # Before it is unloaded, so that nobody takes for a fault what is wanted.
            self._journal.evicted(each.name)
            self._journal.report(f"pipeline `{each.name}` leaves the memory: it was not used for {idle_s:.0f} s")
        self._tell()
        gone = [model for each in going for model in self._away[each.name].configs if model not in needed]
        ensembles = [*(each.name for each in going), *(model for model in gone if is_ensemble(loaded[model]))]
        take_out(self._control, list(dict.fromkeys(ensembles)), loaded, self._timeout_s)
        # What a step calls is no step of an ensemble.
        left = set(self._control.ready_models()) & {model for each in self._away.values() for model in each.configs}
        for model in sorted(left - needed - set(self._journal.health.in_memory())):
            self._control.unload(model, self._timeout_s)
        # Whoever measures before they are gone would have others leave in vain.
        await_answered(self._control, gone, self._timeout_s)

    def _brought(self, name: str) -> Brought:
        """Bring a pipeline back, with those that it calls."""
        try:
            with self._changing(self._settings.answer_timeout_s):
                self._mind_loads()
                return self._bring(name)
        except Locked as other:
            return Brought(HTTPStatus.SERVICE_UNAVAILABLE, f"a load into this server ({other}) is under way")
        except Exception as problem:
            self._journal.report(f"pipeline `{name}` cannot be brought back: {problem}")
            return Brought(HTTPStatus.SERVICE_UNAVAILABLE, str(problem))

    def _bring(self, name: str) -> Brought:
        pipelines = {each.name: each for each in self._named([name])}
        order = Needs(list(pipelines.values())).ensembles_of(pipelines[name])
        for each in order:
            # It is about to be used.
            self._journal.uses.begin(each)
        coming = [each for each in order if each in self._away]
        if problem := self._never_fits(name, order):
            return Brought(HTTPStatus.INSUFFICIENT_STORAGE, problem)
        excess = self._excess() + sum(self._away[each].bytes for each in coming)
        if excess > 0:
            self._make_room(excess)
        for each in coming:
            problem = self._load(pipelines[each])
            if problem:
                return Brought(HTTPStatus.SERVICE_UNAVAILABLE, problem)
        return Brought(HTTPStatus.OK)

    def _never_fits(self, name: str, order: Sequence[str]) -> str:
        """Why the budget is too small for a pipeline and what it calls alone; empty when it is not."""
        sizes = self._sizes()
        residents = self._residents(self._loaded(), sizes)
        needed = {part for each in residents if each.name in order for part in each.parts}
        without = self._excess() - sum(size for part, size in sizes.items() if part not in needed)
        over = without + sum(self._away[each].bytes for each in order if each in self._away)
        if over <= 0:
            return ""
        return (
            f"`{name}` and the server alone take {over / MIB:.0f} MiB more than the memory budget of "
            f"{self._settings.memory_budget_mib:g} MiB: raise CONCH_MEMORY_BUDGET_MIB"
        )

    def _load(self, pipeline: Pipeline) -> str:
        """Load one pipeline; what is wrong with its answers, empty when nothing is. Raises ControlFailed when Triton
        refuses it; it stays evicted then."""
        began = time.monotonic()
        require_signed(self._settings, [pipeline])
        configs = self._away[pipeline.name].configs
        try:
            for model in sorted(configs, key=lambda model: (is_ensemble(configs[model]), model == pipeline.name)):
                self._load_model(model, configs)
        except ConchError:
            for model in (each for each in configs if is_ensemble(configs[each])):
                with contextlib.suppress(ControlFailed):
                    self._control.unload(model, self._timeout_s)
            raise
        with self._journal.uses.golden(pipeline.name, len(golden_samples(pipeline))) as answered:
            outcome = ask_golden(self._client, pipeline, self._settings.answer_timeout_s)
            answered(outcome.answered)
        del self._away[pipeline.name]
        self._journal.back(pipeline.name)
        self._journal.report(f"pipeline `{pipeline.name}` is back in memory after {time.monotonic() - began:.1f} s")
        self._journal.asked(pipeline.name, outcome)
        self._tell()
        return "" if outcome.symptom is Symptom.WELL else outcome.problem

    def _load_model(self, model: str, configs: Configs) -> None:
        wanted = set[int]().union(*(wants(config, model) for config in configs.values())) - {LATEST}
        there = set(self._control.ready_versions(model))
        if there and wanted <= there:
            return
        now: Config | None = self._control.config(model) if there else None
        config = configs[model] if now is None else now
        if wanted:
            config = with_versions(config, sorted(wanted | there))
        self._control.load(model, stamped(config) if now is None else restamped(config, now), self._timeout_s)
        if not self._control.is_ready(model):
            raise ControlFailed(f"model `{model}` was loaded, but Triton does not call it ready")

    @property
    def _timeout_s(self) -> float:
        return self._settings.start_timeout_s

    def _named(self, names: Sequence[str]) -> list[Pipeline]:
        return pipelines_named(self._settings.repository, names, self._settings.profile)

    def _loaded(self) -> Configs:
        return {model: self._control.config(model) for model in self._control.ready_models()}

    def _sizes(self) -> dict[Part, int]:
        """What the Python processes of each model take."""
        sizes: dict[Part, int] = {}
        for stub in self._stubs.all:
            part = (stub.model, int(stub.version or 0))
            sizes[part] = sizes.get(part, 0) + memory_of(stub.pid).bytes
        return sizes

    def _residents(self, loaded: Configs, sizes: Collection[Part]) -> list[Resident]:
        in_memory = self._journal.health.all()
        pipelines = self._named(self._journal.health.in_memory())
        return [
            Resident(
                each.name,
                _parts(each, loaded, sizes),
                frozenset(each.uses),
                self._journal.uses.last(each.name),
                bool(in_memory[each.name].well),
            )
            for each in pipelines
            if each.name in in_memory
        ]


def _parts(pipeline: Pipeline, loaded: Configs, running: Collection[Part]) -> frozenset[Part]:
    """The versions of models that a pipeline or a release needs of its own: what its ensemble names, and all of what
    belongs to it without being a step of it."""
    config = loaded.get(pipeline.name, {})
    named: set[Part] = set()
    for step in dict.fromkeys(steps_of(config)):
        versions = {version for model, version in running if model == step}
        named |= {(step, max(versions, default=0) if each == LATEST else each) for each in wants(config, step)}
    steps = {model for model, _ in named}
    beside = {(model, version) for model, version in running if model in pipeline.models and model not in steps}
    others = {(model, 0) for model in pipeline.models if model not in steps and is_ensemble(loaded.get(model, {}))}
    return frozenset(named | beside | others)
