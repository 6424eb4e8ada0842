"""`conch check` and the real Triton agree: on every broken repository of the tables in `truth/`, on every unusual but
legal one, and on the bad example of every rule.

A table has a sound base and its mutations: what Triton refuses, with its words, and what it loads and answers. In paths
and texts `@` is the name of the case's model. All cases lie in one repository.
"""

from __future__ import annotations

import contextlib
import queue
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from tritonclient import grpc
from tritonclient.utils import triton_to_np_dtype

from conch_tools.check import Finding, Severity, check_repository
from conch_tools.check.examples import Files, sound_repository, write_repository
from conch_tools.check.rules import all_rules
from conch_tools.errors import ServerFailed
from conch_tools.server import EmbeddedServer
from conch_tools.server.embedded import ADMIN_HEADER
from conch_tools.server.failure import how_it_ended
from conch_tools.settings import Settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

StartTriton = Callable[..., EmbeddedServer]

pytestmark = pytest.mark.timeout(600)
TABLES = Path(__file__).with_name("truth")
MESSAGES = Path(__file__).with_name("core_messages.toml")
SEQUENCE = 7
"""A sequence's correlation id; models without a sequence batcher do not mind it."""
LIMIT_S = 60.0
LOADED_AT_ONCE = 16
"""Most of a load, Triton waits."""
NO_VERDICTS = ("StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED")
END_WAIT_S = 30.0
"""How long a server that a case is to end may take, at most."""
UNPOLLED = "failed to poll from model repository"
"""All that Triton answers where a configuration cannot be read, or is refused before anything is loaded."""


@dataclass(frozen=True)
class Case:
    """A repository of one model, and perhaps others whose names begin with its own. `says` is a part of what Triton
    answers when it is to load it, None where it loads it."""

    name: str
    files: Mapping[str, Any]
    says: str | None
    asked: bool
    """Whether it can be asked the smallest request that its tensors allow."""
    alone: bool
    """Whether it needs a server of its own, which it ends, or which waits for it for ever."""

    @property
    def models(self) -> set[str]:
        """The folders that belong to it."""
        return {path.replace("@", self.name).split("/")[0] for path in self.files}


@dataclass(frozen=True)
class Verdict:
    """What Triton says of a case (None: it loads and answers it), and the errors that the check finds."""

    triton: str | None
    errors: Sequence[Finding]


def tables() -> dict[str, Any]:
    return {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(TABLES.glob("*.toml"))}


def cases() -> Iterator[Case]:
    for name, table in tables().items():
        for verdict in ("refused", "accepted"):
            for mutation, how in table[verdict].items():
                files = _mutated(table["files"], how)
                yield Case(
                    f"{name}-{mutation}", files, how.get("says"), how.get("asked", True), how.get("alone", False)
                )


def _mutated(base: Mapping[str, Any], how: Mapping[str, Any]) -> dict[str, Any]:
    files: dict[str, Any] = {path: content for path, content in base.items() if path not in how.get("remove", ())}
    for before, after in how.get("change", ()):
        holders = [path for path, content in files.items() if isinstance(content, str) and before in content]
        assert len(holders) == 1 and files[holders[0]].count(before) == 1, f"not once in the base: {before}"
        files[holders[0]] = files[holders[0]].replace(before, after)
    return {**files, **how.get("add", {})}


def _write(repository: Path, files: Mapping[str, Any], name: str) -> None:
    for path, content in files.items():
        file = repository / path.replace("@", name)
        (file if path.endswith("/") else file.parent).mkdir(parents=True, exist_ok=True)
        if isinstance(content, dict):
            file.write_bytes((TABLES / content["copy"]).read_bytes())
        elif path.endswith(".onnx"):
            file.write_bytes(onnx.parser.parse_model(content).SerializeToString())
        elif not path.endswith("/"):
            file.write_text(content.replace("@", name), encoding="utf-8")


CASES = {case.name: case for case in cases()}
ELSEWHERE = {
    **dict.fromkeys(("MAN", "PIP", "STP"), "what Conch's own backends and builds read: test_check_verdicts.py"),
    **dict.fromkeys(("PYC", "PYR", "PYS", "PYT"), "sources of Python models: test_check_sources.py"),
    "ACC": "what NVIDIA's backend reads on a GPU",
    "CAC": "a second answer out of the cache, no refusal",
}
"""Kinds of codes whose bad examples are asked about elsewhere, or cannot be here, with the reason."""
NOT_ASKED = {
    "FIL005": "Triton waits for a process that is dead: a case of its own",
    "FIL008": "the same; test_check_verdicts.py asks about it",
    "FIL011": "it ends the server: a case of its own",
    "CFG035": "it ends the server: a case of its own",
}
"""Codes whose bad example is not loaded beside the others, with the reason."""
EXAMPLES = {
    rule.code: rule.example
    for rule in all_rules()
    if rule.severity is Severity.ERROR
    and rule.example
    and rule.code not in NOT_ASKED
    and rule.code[:3] not in ELSEWHERE
}
LEAST_REFUSED, LEAST_SERVED = 200, 80
"""How many cases there are at least, lest a table be lost unnoticed."""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("truth")
    for table in tables().values():
        _write(folder, table.get("shared", {}), "")
    for case in CASES.values():
        _write(folder, case.files, case.name)
    return folder


class NoVerdict(Exception):
    """The server ended or did not answer, which is expected of no case that is loaded beside others."""


class Judge:
    """The real server, asked about one model after the other, also from several threads."""

    def __init__(self, server: EmbeddedServer) -> None:
        self._server = server
        self._triton = grpc.InferenceServerClient(server.grpc_url)
        self._admin = {f"triton-grpc-protocol-{ADMIN_HEADER}": server.admin_key}

    def refusal(self, model: str, *, asked: bool = True) -> str | None:
        """What Triton says when it is to load a model and, if it is `asked`, to answer; None when it does."""
        told = self._reason_in_log(model)
        try:
            self._triton.load_model(model, headers=self._admin, client_timeout=LIMIT_S)
            if asked:
                self._ask(model)
            self._triton.unload_model(model, headers=self._admin, client_timeout=LIMIT_S)
        except grpc.InferenceServerException as refused:
            if refused.status() in NO_VERDICTS:
                raise NoVerdict(f"{model}: {refused}") from refused
            return self._reason_after(told, model) if UNPOLLED in str(refused) else str(refused)
        return None

    def _ask(self, model: str) -> None:
        """One answer; a stream's first one for a decoupled model. Raises InferenceServerException."""
        inputs = []
        for tensor in self._triton.get_model_metadata(model, client_timeout=LIMIT_S).inputs:
            value = np.zeros([max(size, 1) for size in tensor.shape], triton_to_np_dtype(tensor.datatype))
            inputs.append(grpc.InferInput(tensor.name, value.shape, tensor.datatype))
            inputs[-1].set_data_from_numpy(value.astype(str).astype(object) if tensor.datatype == "BYTES" else value)
        sequence = {"sequence_id": SEQUENCE, "sequence_start": True, "sequence_end": True}
        config = self._triton.get_model_config(model, client_timeout=LIMIT_S).config
        if not config.model_transaction_policy.decoupled:
            self._triton.infer(model, inputs, client_timeout=LIMIT_S, **sequence)
            return
        errors: queue.Queue[Any] = queue.Queue()
        with grpc.InferenceServerClient(self._server.grpc_url) as stream:
            stream.start_stream(lambda result, error: errors.put(error))
            stream.async_stream_infer(model, inputs, **sequence)
            error = errors.get(timeout=LIMIT_S)
        if error is not None:
            raise error

    def _reason_after(self, told: str | None, model: str) -> str:
        """Why a configuration was not even taken up. Triton tells its log, and not who asked; `told` is from before."""
        deadline = time.monotonic() + LIMIT_S
        while (reason := self._reason_in_log(model)) in (None, told) and time.monotonic() < deadline:
            time.sleep(0.01)
        return reason or UNPOLLED

    def _reason_in_log(self, model: str) -> str | None:
        """The last one of a model, with its time."""
        lines = (line for line in reversed(self._server.log) if f"Poll failed for model directory '{model}'" in line)
        return next(lines, None)


@pytest.fixture(scope="module")
def both(
    repository: Path, start_triton: StartTriton, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Verdict], dict[str, Verdict]]:
    """Of the tables, and of the bad examples, side by side."""
    examples = tmp_path_factory.mktemp("examples")
    with ThreadPoolExecutor(1) as aside:
        judged = aside.submit(_judge_examples, examples, start_triton)
        return _judge_tables(repository, start_triton), judged.result()


@pytest.fixture(scope="module")
def verdicts(both: tuple[dict[str, Verdict], dict[str, Verdict]]) -> dict[str, Verdict]:
    """Of the tables."""
    return both[0]


@pytest.fixture(scope="module")
def example_verdicts(both: tuple[dict[str, Verdict], dict[str, Verdict]]) -> dict[str, Verdict]:
    """Of the bad examples."""
    return both[1]


def _judge_tables(repository: Path, start_triton: StartTriton) -> dict[str, Verdict]:
    """All cases that need no server of their own in one, then the others."""
    shared = {path.split("/")[0] for table in tables().values() for path in table.get("shared", {})}
    together = [case for case in CASES.values() if not case.alone]
    judge = Judge(start_triton(repository, models=sorted(shared)))
    refusals: dict[str, str | None] = {}

    def judged(case: Case) -> None:
        # A server that ended: what was asked of it at the same time is asked again below.
        with contextlib.suppress(NoVerdict):
            refusals[case.name] = judge.refusal(case.name, asked=case.asked)

    with ThreadPoolExecutor(LOADED_AT_ONCE) as pool:
        list(pool.map(judged, together))
    for case in (case for case in together if case.name not in refusals):
        # Not the server of before, which may be about to end: whoever gives no verdict on this one ends it alone.
        judge = _new_judge(repository, sorted(shared), start_triton)
        refusals[case.name] = judge.refusal(case.name, asked=case.asked)
    for case in (case for case in CASES.values() if case.alone):
        refusals[case.name] = _end_of(case, repository, start_triton)
    errors = _errors(repository)
    return {
        name: Verdict(refusals[name], [each for each in errors if _model_of(each, repository) in case.models])
        for name, case in CASES.items()
    }


def _new_judge(repository: Path, models: Sequence[str], start_triton: StartTriton) -> Judge:
    """One of many starts beside other servers ended at once, with a descriptor that gRPC found closed."""
    try:
        return Judge(start_triton(repository, models=models))
    except ServerFailed:
        return Judge(start_triton(repository, models=models))


def _judge_examples(repository: Path, start_triton: StartTriton) -> dict[str, Verdict]:
    """Each bad example is written over the repository of examples, loaded, and taken back."""
    sound = sound_repository()
    write_repository(sound, repository)
    judge = Judge(start_triton(repository))
    found = {}
    for code, example in EXAMPLES.items():
        bad, model = example.spoil(sound), example.path.split("/")[0]
        _rewrite(repository, sound, bad)
        errors = [each for each in _errors(repository) if _model_of(each, repository) == model]
        found[code] = Verdict(judge.refusal(model), errors)
        _rewrite(repository, bad, sound)
    return found


def _end_of(case: Case, repository: Path, start_triton: StartTriton) -> str | None:
    """How a server ends that is to load a case and to answer for it; None when it does not."""
    try:
        server = start_triton(repository, models=[case.name])
    except ServerFailed as refused:
        return str(refused)
    refusal = None
    with contextlib.suppress(NoVerdict):
        refusal = Judge(server).refusal(case.name)
    code = server.wait(END_WAIT_S if case.says is not None and refusal is None else 0.0)
    return refusal if code is None else f"tritonserver {how_it_ended(code)}"


def _rewrite(repository: Path, before: Files, after: Files) -> None:
    # A name that ends with @ is a link's.
    for path in (each.removesuffix("@") for each in before.keys() - after.keys()):
        (repository / path).unlink()
        if not any((repository / path).parent.iterdir()):
            (repository / path).parent.rmdir()
    write_repository({path: text for path, text in after.items() if before.get(path) != text}, repository)


def _errors(repository: Path) -> list[Finding]:
    findings = check_repository(repository, Settings().backends, profiles=[None])
    return [each for each in findings if each.severity is Severity.ERROR]


def _model_of(finding: Finding, repository: Path) -> str:
    return finding.file.relative_to(repository).parts[0]


def test_the_check_and_triton_agree(
    verdicts: Mapping[str, Verdict], example_verdicts: Mapping[str, Verdict], capsys: pytest.CaptureFixture[str]
) -> None:
    judged = {**verdicts, **example_verdicts}
    counts = Counter((verdict.triton is not None, bool(verdict.errors)) for verdict in judged.values())
    with capsys.disabled():
        print(f"\n{'':14}{'check: errors':>15}{'no errors':>12}")
        for refused, words in ((True, "Triton refuses"), (False, "Triton serves")):
            print(f"{words:14}{counts[refused, True]:15}{counts[refused, False]:12}")
    wrong = {name: each for name, each in judged.items() if (each.triton is None) == bool(each.errors)}
    assert not wrong, "\n".join(f"{name}: Triton: {each.triton}; check: {_said(each)}" for name, each in wrong.items())
    assert counts[True, True] >= LEAST_REFUSED and counts[False, False] >= LEAST_SERVED


def _said(verdict: Verdict) -> str:
    return "; ".join(f"{each.code} {each.what}" for each in verdict.errors) or "no error"


@pytest.mark.parametrize("name", CASES)
def test_triton_says_what_the_table_says(verdicts: Mapping[str, Verdict], name: str) -> None:
    says, said = CASES[name].says, verdicts[name].triton
    if says is None:
        assert said is None
    else:
        assert said is not None and says.replace("@", name) in said


def test_every_message_of_core_is_provoked(verdicts: Mapping[str, Verdict]) -> None:
    for file in tomllib.loads(MESSAGES.read_text(encoding="utf-8")).values():
        for message, case in file["provoked"].items():
            assert message in str(verdicts[case].triton), case
        assert all(why for why in file["never"].values())
