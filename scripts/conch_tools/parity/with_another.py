"""Pipelines compared with something else that is served: another pipeline, profile or machine."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from conch_client import Client
from conch_tools.errors import NoAnswer, SettingsError
from conch_tools.parity.asking import CONCURRENT, measured, one_by_one, ways_of
from conch_tools.parity.corpus import Corpus
from conch_tools.parity.protocols import LATEST, OverGrpc, asking
from conch_tools.parity.steps import Served, first_diverging_step
from conch_tools.parity.trial import trial_server
from conch_tools.parity.verdict import Verdict
from conch_tools.pipelines import Pipeline, load_pipelines, models_of, pipeline_folders
from conch_tools.serve import Report, require_sound
from conch_tools.server import EmbeddedServer
from conch_tools.settings import Settings
from conch_tools.xray.plan import plan_of
from conch_tools.xray.target import target_of


@dataclass(frozen=True)
class Other:
    """What is served as well, and compared with: another pipeline or model, another profile, another address."""

    name: str | None = None
    version: str = LATEST
    profile: str | None = None
    url: str | None = None

    @classmethod
    def written(cls, against: str | None, profile: str | None, url: str | None) -> Other:
        """As the command line has it, `against` as NAME[:VERSION][@HOST:PORT]. Raises SettingsError."""
        if against is None:
            return cls(profile=profile, url=url)
        target = target_of(against, url or "")
        return cls(target.model, target.version, profile, target.url or None)

    def describe(self, pipeline: str) -> str:
        """What the report calls it."""
        name = (self.name or pipeline) + (f":{self.version}" if self.version else "")
        if self.url is not None:
            return f"{name} at {self.url}"
        return name if self.profile is None else f"{name} with profile {self.profile}"


def compare_with_another(
    settings: Settings,
    pipelines: Sequence[Pipeline],
    served: Sequence[Pipeline],
    corpora: Mapping[str, Corpus],
    other: Other,
    report: Report,
) -> list[Verdict]:
    """Ask each pipeline, and the other one, the same corpus.

    `served` are the pipelines with those that they use. Raises RepositoryError when something is not built or absent,
    SettingsError for two that do not take the same inputs, and what the servers raise; a difference is no error here.
    """
    models = models_of(served)
    loaded = list(dict.fromkeys([*models, *_models_beside(settings, other)]))
    require_sound(settings, loaded)
    if other.profile is not None:
        _require_profile(settings, models, other.profile)
    with contextlib.ExitStack() as stack:
        if other.url is not None:
            # Asked before anything is started, because an address may be wrong.
            two = stack.enter_context(Client(other.url, timeout_s=settings.answer_timeout_s))
            for each in pipelines:
                two.metadata(other.name or each.name, other.version)
        server = stack.enter_context(trial_server(settings, loaded))
        one = stack.enter_context(Client(server.grpc_url, timeout_s=settings.answer_timeout_s))
        if other.url is None:
            own = _server_of(other, settings, models, server, stack)
            two = stack.enter_context(Client(own.grpc_url, timeout_s=settings.answer_timeout_s))
        verdicts = []
        for each in pipelines:
            corpus = corpora[each.name]
            report(f"{each.name}: {len(corpus.items)} cases, compared with {other.describe(each.name)}")
            try:
                verdicts.append(compare_two(one, two, each, corpus, other))
            except NoAnswer as problem:
                verdicts.append(
                    Verdict.of_problem(each.name, other.describe(each.name), each.variant_gate, str(problem))
                )
        return verdicts


def compare_two(one: Client, two: Client, pipeline: Pipeline, corpus: Corpus, other: Other) -> Verdict:
    """A pipeline on one server and the other one, which may be on a server of its own.

    Raises NoAnswer when one of them answers nothing at all, NoAnswerInTime when one lets a request wait.
    """
    gate = pipeline.variant_gate
    ours, theirs = _served(one, pipeline.name), _served(two, other.name or pipeline.name, other.version)
    _require_same_inputs(one, ours, two, theirs)
    expected = one_by_one(ours.ask, ours.plan.model, corpus.items)
    if all(answer.row is None for answer in expected):
        raise NoAnswer(f"`{pipeline.name}` answers none of the {len(expected)} cases: {expected[0].problem}")
    # A server that others use as well is not asked by many callers at once.
    ways = {
        way: asked
        for way, asked in ways_of(theirs.ask, theirs.plan.model).items()
        if other.url is None or way != CONCURRENT
    }
    rows = [answer.row for answer in expected]
    answers = {
        way: asked(theirs.ask, theirs.plan.model, corpus.items, theirs.plan.version) for way, asked in ways.items()
    }
    outcomes = [measured(way, answered, rows, gate.max_abs_difference) for way, answered in answers.items()]
    differences = [difference for outcome in outcomes for difference in outcome.differences]
    first = min(differences, key=lambda difference: not difference.says_something_else, default=None)
    divergence = None
    if first is not None:
        # A lenient gate for the whole would find no step: each is held against the gate of a build.
        strict = pipeline.gates.max_abs_difference
        divergence = first_diverging_step(ours, theirs, corpus.items[first.index], strict)
    return Verdict(pipeline.name, other.describe(pipeline.name), gate, outcomes, corpus, divergence)


def _served(client: Client, model: str, version: str = LATEST) -> Served:
    with asking(model):
        return Served(OverGrpc(client), plan_of(model, version, client.config))


def _require_same_inputs(one: Client, ours: Served, two: Client, theirs: Served) -> None:
    taken, said = [], []
    for client, plan in ((one, ours.plan), (two, theirs.plan)):
        with asking(plan.model):
            inputs = {each.name: each.datatype for each in client.metadata(plan.model, plan.version).inputs}
        taken.append(inputs)
        said.append(f"`{plan.model}` takes {', '.join(f'{name} ({datatype})' for name, datatype in inputs.items())}")
    if taken[0] != taken[1]:
        raise SettingsError(f"{said[0]} and {said[1]}: compare two of the same inputs")


def _models_beside(settings: Settings, other: Other) -> list[str]:
    """What our own server loads for the other one. Raises RepositoryError for a name that is not there."""
    if other.name is None or other.url is not None:
        return []
    folder = settings.repository / other.name
    if other.name not in pipeline_folders(settings.repository) and (folder / "config.pbtxt").is_file():
        return [other.name]
    return models_of(load_pipelines(settings.repository, [other.name]))


def _require_profile(settings: Settings, models: Sequence[str], profile: str) -> None:
    """Raise SettingsError when no model has the profile: Triton would serve the default without a word."""
    files = [file for model in models for file in (settings.repository / model / "configs").glob("*.pbtxt")]
    known = sorted({file.stem for file in files})
    if profile not in known:
        there = f"there are {', '.join(known)}" if known else "they have none"
        raise SettingsError(f"none of {', '.join(models)} has a profile `{profile}`: {there}")


def _server_of(
    other: Other, settings: Settings, models: Sequence[str], server: EmbeddedServer, stack: contextlib.ExitStack
) -> EmbeddedServer:
    """Which of our servers is asked for the other one: a second one, left on the stack, for another profile."""
    if other.profile is None:
        return server
    profiled = settings.model_copy(update={"profile": other.profile})
    require_sound(profiled, models)
    return stack.enter_context(trial_server(profiled, models))
