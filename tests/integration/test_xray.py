"""`conch xray` on the real server: this project's pipelines, and small repositories with a fault of a test's own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from conch_client import ModelNotFound
from conch_tools.errors import SettingsError
from conch_tools.server import EmbeddedServer
from conch_tools.server.record import key_path
from conch_tools.server.workspace import write_private
from conch_tools.xray.measure import Load
from conch_tools.xray.report import Report
from conch_tools.xray.run import Asked, xray
from conch_tools.xray.server import Server
from conch_tools.xray.timing import Timing
from conch_tools.xray.tracing import NoTrace, traced

StartTriton = Callable[..., EmbeddedServer]
WaitUntil = Callable[..., None]
Look = Callable[..., Report]

ADDS = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            value = pb_utils.get_input_tensor_by_name(request, "a").as_numpy()
            if value.max() > 100:
                raise ValueError("<b>more</b> than 100")
            given = pb_utils.Tensor("b", (value + {added}).astype(np.float32))
            answers.append(pb_utils.InferenceResponse([given]))
        return answers
"""
ANSWERS_LATER = """
import threading

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            value = pb_utils.get_input_tensor_by_name(request, "a").as_numpy()
            answer = pb_utils.InferenceResponse([pb_utils.Tensor("b", value)])
            threading.Timer(0.2, self.send, (request.get_response_sender(), answer)).start()
        return [None] * len(requests)

    def send(self, sender, answer):
        sender.send(answer, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""
STEP = """
backend: "python"
max_batch_size: {batch}
input [{{ name: "a" data_type: TYPE_FP32 dims: [2] }}]
output [{{ name: "b" data_type: TYPE_FP32 dims: [2] }}]
version_policy {{ all {{ }} }}
"""
CHAIN = """
platform: "ensemble"
max_batch_size: 8
input [{{ name: "x" data_type: TYPE_FP32 dims: [2] }}]
output [{{ name: "y" data_type: TYPE_FP32 dims: [2] }}]
ensemble_scheduling {{ step [{steps}] }}
"""


def add_step(repository: Path, name: str, *added: float) -> None:
    """A model that adds a number, another one in each version."""
    for version, number in enumerate(added, start=1):
        folder = repository / name / str(version)
        folder.mkdir(parents=True)
        (folder / "model.py").write_text(ADDS.format(added=number))
    (repository / name / "config.pbtxt").write_text(STEP.format(batch=8))


def add_chain(repository: Path, name: str, wires: str, *models: str, gives: str = "b") -> None:
    """An ensemble of models one behind the other; its tensors are `x`, the letters of `wires` and `y`."""
    between = ["x", *wires, "y"]
    takes = {"b": "a", "y": "x"}[gives]
    steps = [
        f'{{ model_name: "{model}" model_version: -1 input_map {{ key: "{takes}" value: "{between[place]}" }} '
        f'output_map {{ key: "{gives}" value: "{between[place + 1]}" }} }}'
        for place, model in enumerate(models)
    ]
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(CHAIN.format(steps=", ".join(steps)))


@pytest.fixture(scope="module")
def small(start_triton: StartTriton, tmp_path_factory: pytest.TempPathFactory) -> EmbeddedServer:
    """Chains of steps that add numbers: `first`, `second` with another middle step, and `nested` of both; and `late`,
    whose only step `later` answers a while after its `execute` has returned."""
    repository = tmp_path_factory.mktemp("repository")
    add_step(repository, "one", 1.0, 1.5)
    add_step(repository, "two", 2.0)
    add_step(repository, "other", 2.25)
    add_step(repository, "later", 0.0)
    (repository / "later" / "1" / "model.py").write_text(ANSWERS_LATER)
    add_chain(repository, "late", "", "later")
    add_chain(repository, "first", "mn", "two", "two", "one")
    add_chain(repository, "second", "mn", "two", "other", "one")
    add_chain(repository, "nested", "q", "first", "second", gives="y")
    server = start_triton(repository)
    # As `conch serve` does, so that the command finds the key.
    settings = server.options.settings
    settings.state.mkdir(parents=True, exist_ok=True)
    write_private(key_path(settings), server.admin_key)
    return server


@pytest.fixture
def look() -> Look:
    """Look into a request to a server."""

    def look(server: EmbeddedServer, name: str, *arguments: str, **more: Any) -> Report:
        load = Load(more.pop("repeat", 3), more.pop("concurrency", 1))
        asked = {"parameters": [], "against": None, "tolerance": 1e-4, **more}
        return xray(server.options.settings, name, None, Asked(arguments=arguments, load=load, **asked))

    return look


def timing_of(report: Report) -> Timing:
    assert isinstance(report.one.timing, Timing), report.one.timing
    return report.one.timing


def values_of(report: Report) -> dict[str, Any]:
    return {wire: array.reshape(-1).tolist() for wire, array in report.one.walk.tensors.items()}


def environment(server: EmbeddedServer) -> dict[str, str]:
    """By which the command finds the server, its repository and its key."""
    own = server.options.settings.model_dump(exclude_defaults=True)
    return {f"CONCH_{name.upper()}": str(value) for name, value in own.items()}


def run(server: EmbeddedServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command itself, in a process of its own."""
    command = [sys.executable, "-m", "conch_tools", "xray", *arguments]
    return subprocess.run(command, env=environment(server), capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("pipeline", "steps"),
    [
        ("sentiment", ["sentiment_tokenize", "sentiment_model", "sentiment_labels"]),
        ("digits", ["digits_decode", "digits_model", "digits_labels"]),
        ("qa", ["qa_answers"]),
    ],
)
def test_a_pipelines_own_sample_goes_through_every_step(
    triton: EmbeddedServer, look: Look, pipeline: str, steps: Sequence[str]
) -> None:
    report = look(triton, pipeline)
    assert report.problem is None
    assert list(report.one.walk.answered) == steps
    assert report.one.walk.disagreements == ()
    # The session's server keeps no key for us.
    timing = timing_of(report)
    assert timing.source == "statistics"
    assert timing.remark is not None and "the server's trace API is closed to us" in timing.remark
    assert timing.steps.keys() == set(steps)
    assert report.one.advice


def test_branches_are_walked_and_joined(triton: EmbeddedServer, look: Look) -> None:
    report = look(triton, "risk_vote")
    assert report.one.walk.disagreements == ()
    assert {"linear", "forest", "network", "probabilities", "label"} <= report.one.facts.keys()
    timing = timing_of(report)
    assert next(iter(timing.path)) == "risk_features"
    assert len({"risk_vote_linear", "risk_vote_forest", "risk_vote_network"} & timing.path.keys()) == 1
    assert list(timing.path)[-2:] == ["risk_vote_join", "risk_vote_labels"]


def test_models_that_a_step_asks_by_itself_are_found(triton: EmbeddedServer, look: Look) -> None:
    called = {each.model: each for each in timing_of(look(triton, "search")).called}
    assert called.keys() == {"embed", "embed_tokenize", "embed_model"}
    assert (called["embed"].of_step, called["embed"].within) == ("search_index", None)
    # Three rounds; a request may be counted in the round after its own.
    assert called["embed"].times == pytest.approx(1.0, abs=0.34)
    assert called["embed_model"].within == "embed"


def test_a_step_that_answers_through_response_senders_is_not_called_fast(small: EmbeddedServer, look: Look) -> None:
    timing = timing_of(look(small, "late", "[1, 2]"))
    inside = timing.steps["later"].inside
    assert inside.later_ms > inside.compute_ms
    assert inside.total_ms <= timing.wall_ms


def test_parameters_reach_the_steps_as_they_reach_the_whole(triton: EmbeddedServer, look: Look) -> None:
    report = look(triton, "sentiment", "fine", parameters=["top_k=1"])
    assert report.one.facts["label"].shape == (1, 1)
    assert report.one.walk.disagreements == ()


def test_a_request_is_written_as_for_infer(triton: EmbeddedServer, look: Look, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("<script>alert(1)</script>")
    report = look(triton, "sentiment", f"text=@{tmp_path / 'text'}", repeat=1)
    assert report.one.facts["text"].sample == ("<script>alert(1)</script>",)
    with pytest.raises(SettingsError, match="xray looks at one request"):
        look(triton, "sentiment", "a", "b")
    with pytest.raises(SettingsError, match=r"`sentiment_labels` needs an input"):
        look(triton, "sentiment_labels")
    with pytest.raises(ModelNotFound, match="sentimnet"):
        look(triton, "sentimnet")


def test_nested_ensembles_are_walked_to_the_last_step(small: EmbeddedServer, look: Look) -> None:
    report = look(small, "nested", "[1, 2]")
    assert [step.name for step in report.one.plan.steps] == [
        "first/two",
        "first/two#2",
        "first/one",
        "second/two",
        "second/other",
        "second/one",
    ]
    values = values_of(report)
    assert values["first/m"] == [3, 4] and values["first/n"] == [5, 6]
    assert values["q"] == [6.5, 7.5]
    assert report.one.walk.disagreements == ()


def test_every_step_of_a_nested_ensemble_is_traced_in_its_place(small: EmbeddedServer, look: Look) -> None:
    timing = timing_of(look(small, "nested", "[1, 2]", repeat=5))
    assert (timing.source, timing.remark, timing.requests) == ("trace", None, 5)
    begins = [timing.typical.spans[name].start_ms for name in timing.path]
    assert len(begins) == 6
    assert begins == sorted(begins) and begins[0] >= 0
    assert sum(each.parts.compute_ms for each in timing.typical.spans.values()) < timing.typical.total_ms
    assert timing.total_ms < timing.wall_ms
    assert timing.called == ()


def test_several_callers_are_traced_each_by_itself(small: EmbeddedServer, look: Look) -> None:
    timing = timing_of(look(small, "first", "[1, 2]", repeat=4, concurrency=4))
    assert (timing.source, timing.requests, timing.concurrency) == ("trace", 16, 4)


def test_tracing_leaves_the_server_as_it_was(small: EmbeddedServer, look: Look) -> None:
    with Server(small.grpc_url, small.admin_key, 5.0) as server:
        before = server.trace_settings("first")
        look(small, "first", "[1, 2]")
        assert server.trace_settings("first") == before
        (file,) = before["trace_file"]
        assert not list(Path(file).parent.glob("trace.json*"))


def test_whoever_traces_already_is_not_disturbed(small: EmbeddedServer, look: Look) -> None:
    with Server(small.grpc_url, small.admin_key, 5.0) as server:
        with traced(server, "first", 5) as traces:
            timing = timing_of(look(small, "first", "[1, 2]"))
            traces.collect()
        assert timing.source == "statistics"
        assert timing.remark == "somebody is tracing `first` already"
        with traced(server, "first", 5), pytest.raises(NoTrace), traced(server, "first", 5):
            pass


def test_an_interrupt_switches_tracing_off(small: EmbeddedServer, wait_until: WaitUntil) -> None:
    command = [sys.executable, "-m", "conch_tools", "xray", "first", "[1, 2]", "--repeat", "1000"]
    with Server(small.grpc_url, small.admin_key, 5.0) as server:
        with subprocess.Popen(command, env=environment(small), stderr=subprocess.PIPE, text=True) as process:
            try:
                wait_until(lambda: server.trace_settings("first")["trace_level"] == ["TIMESTAMPS"], "it traces")
                process.send_signal(signal.SIGINT)
                _, errors = process.communicate(timeout=30)
            finally:
                process.kill()
        assert errors == "conch: interrupted\n"
        assert server.trace_settings("first")["trace_level"] == ["OFF"]


def test_what_a_killed_one_left_is_taken_over(small: EmbeddedServer, look: Look, wait_until: WaitUntil) -> None:
    command = [sys.executable, "-m", "conch_tools", "xray", "first", "[1, 2]", "--repeat", "1000"]
    with Server(small.grpc_url, small.admin_key, 5.0) as server:
        with subprocess.Popen(command, env=environment(small), stderr=subprocess.DEVNULL) as process:
            try:
                wait_until(lambda: server.trace_settings("first")["trace_level"] == ["TIMESTAMPS"], "it traces")
            finally:
                process.kill()
        assert server.trace_settings("first")["trace_level"] == ["TIMESTAMPS"]
        assert timing_of(look(small, "first", "[1, 2]")).source == "trace"
        assert server.trace_settings("first")["trace_level"] == ["OFF"]
        (file,) = server.trace_settings("first")["trace_file"]
        assert not list(Path(file).parent.glob("trace.json*"))


def test_the_first_step_that_differs_between_two_versions_is_named(small: EmbeddedServer, look: Look) -> None:
    report = look(small, "first", "[1, 2]", against="second", repeat=1)
    diverging = {(each.step, each.other): each.worst for each in report.differences}
    assert diverging == {("two", "two"): 0.0, ("two#2", "other"): 0.25, ("one", "one"): 0.25}
    done = run(small, "first", "[1, 2]", "--against", f"second@{small.grpc_url}", "--repeat", "1")
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "`two#2` is the first step that differs: `n`, worst difference 0.25, at [0, 0]: 5 against 5.25" in said


def test_versions_of_one_model_are_compared(small: EmbeddedServer, look: Look) -> None:
    report = look(small, "one:1", "[1, 2]", against="one:2", repeat=1)
    assert [each.worst for each in report.differences] == [0.5]
    alike = look(small, "one:2", "[1, 2]", against="one", repeat=1)
    assert [each.worst for each in alike.differences] == [0.0]
    near = look(small, "one:1", "[1, 2]", against="one:2", repeat=1, tolerance=0.5)
    assert not near.differences[0].diverges


def test_a_whole_that_answers_otherwise_than_its_steps_is_told(start_triton: StartTriton, tmp_path: Path) -> None:
    """A step that adds another number with each request stands for anything that the steps alone do not show."""
    repository = tmp_path / "repository"
    add_step(repository, "counts", 0.0)
    (repository / "counts" / "1" / "model.py").write_text(
        ADDS.format(added="self.asked").replace("    def execute(self, requests):", COUNTING)
    )
    add_chain(repository, "whole", "", "counts")
    server = start_triton(repository)
    asked = Asked(["[1, 2]"], [], Load(1, 1), None, 1e-4)
    report = xray(server.options.settings, "whole", None, asked)
    (told,) = report.one.walk.disagreements
    assert told == "`y`: worst difference 1, at [0, 0]: 2 against 3"
    assert report.problem is None
    server.stop()


COUNTING = """    asked = 0

    def execute(self, requests):
        self.asked += 1"""


def test_a_step_that_fails_is_named_with_tritons_words_and_what_came_before(
    small: EmbeddedServer, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    done = run(small, "first", "[97, 2]", "--html", str(page))
    assert done.returncode == 1
    assert done.stderr.startswith("conch: `one` failed: ") and "<b>more</b> than 100" in done.stderr
    assert "Traceback" not in done.stderr
    assert "two#2" in done.stdout and "101, 6" in done.stdout and "failed" in done.stdout
    assert "&lt;b&gt;more&lt;/b&gt; than 100" in page.read_text()


def test_json_is_one_value_for_programs(small: EmbeddedServer) -> None:
    done = run(small, "first", "[1, 2]", "--json", "--repeat", "2", "--against", "second")
    told = json.loads(done.stdout)
    assert told["first_difference"] == "two#2"
    assert [each["name"] for each in told["steps"]] == ["two", "two#2", "one"]
    assert told["timing"]["source"] == "trace" and told["against"]["timing"]["source"] == "trace"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nosuch", "1"], "nosuch"),
        (["first", "[1, 2, 3]"], "input 'x' takes FP32 [batch, 2]"),
        (["first", "[1, 2]", "--against", "@"], "a model is written NAME, NAME:VERSION or NAME@HOST:PORT"),
        (["first", "[1, 2]", "--url", "127.0.0.1:9"], "nothing answers gRPC at 127.0.0.1:9"),
        (["first", "[1, 2]", "--repeat", "1", "--html", "/nosuch/x.html"], "/nosuch/x.html cannot be written"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(small: EmbeddedServer, arguments: list[str], said: str) -> None:
    done = run(small, *arguments)
    assert done.returncode != 0
    assert said in done.stderr and done.stderr.startswith("conch: ") and len(done.stderr.splitlines()) == 1
