"""`conch bench peers`: throughput of `embed` beside the in-process limit and two services that people would write.

All contenders run the same weights on the same texts and stay up for the whole run; in every round each has its turn,
in alternating order, so that drift of a shared machine hits all alike. Answers given under load are held against the
limit's, because a server that is fast and wrong has not won.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from conch_tools.bench.child import ChildService
from conch_tools.bench.comparison import Comparison
from conch_tools.bench.contenders import (
    Contender,
    Embeddings,
    HttpApi,
    HttpLoad,
    Turn,
    read_embedding,
    text_body,
    wire_requests,
)
from conch_tools.bench.corpus import CORPUS_SIZE, LONGEST_WORDS, SHORTEST_WORDS, mixed_length_texts
from conch_tools.bench.limit import InProcessLimit
from conch_tools.bench.report import print_comparison
from conch_tools.bench.rounds import measure
from conch_tools.bench.triton import TritonContender
from conch_tools.build.sources import source_folder
from conch_tools.errors import SettingsError, UnsuitableMachine
from conch_tools.files import command_line, now, write_json
from conch_tools.machine import package_versions, this_machine
from conch_tools.pipelines import load_pipelines
from conch_tools.serve import require_sound
from conch_tools.server.own import own_settings
from conch_tools.server.ports import free_ports
from conch_tools.settings import Settings

PIPELINE = "embed"
OUTPUT = "embedding"
MODULES = ("fastapi", "litserve", "sentence_transformers", "uvicorn")
VERSIONS = (
    *("conch", "nvidia-pytriton", "onnxruntime", "tokenizers", "numpy"),
    *("fastapi", "litserve", "uvicorn", "sentence-transformers", "torch"),
)
SERVICES = (
    ("FastAPI", "fastapi_service", "sentence-transformers, model.encode(text) in a def endpoint, uvicorn, one process"),
    ("LitServe", "litserve_service", "sentence-transformers, max_batch_size 16, batch_timeout 5 ms, one worker"),
)
"""Name, module of conch_tools.bench.services, how it is set up."""


@dataclass(frozen=True)
class ServiceContender:
    """A service of the bench's own, awake only in its turns."""

    name: str
    setup: str
    child: ChildService
    load: HttpLoad

    def turn(self, seconds: float, concurrency: int) -> Turn:
        """One closed loop over HTTP and JSON."""
        with self.child.awake():
            return self.load.turn(seconds, concurrency)


def bench_peers(
    settings: Settings,
    seconds: float,
    rounds: int,
    concurrency: int,
    output: Path | None,
    console: Console,
    corpus_size: int = CORPUS_SIZE,
) -> Comparison:
    """Measure, print the tables, write JSON if asked.

    Raises SettingsError for figures that nothing can be measured with, UnsuitableMachine for packages that are absent,
    RepositoryError for a pipeline that cannot be served, ContenderFailed when one does not start or answers wrongly.
    """
    _require(seconds, rounds, concurrency)
    require_sound(settings, [PIPELINE])

    def report(line: str) -> None:
        console.print(f"conch: {line}", highlight=False, markup=False)

    report("starting the contenders")
    with _contenders(settings, mixed_length_texts(corpus_size)) as field:
        everyone: list[Contender] = [field.limit, field.conch, *field.services]
        entries = [*((contender, concurrency) for contender in everyone), (field.conch, 2 * concurrency)]
        *contenders, crowded = measure(entries, rounds, seconds, report)
    comparison = Comparison(
        machine=this_machine(),
        versions=package_versions(VERSIONS),
        date=now(),
        command=command_line(),
        seconds=seconds,
        texts=f"{corpus_size} texts of {SHORTEST_WORDS} to {LONGEST_WORDS} words",
        contenders=contenders,
        alone=[crowded],
    )
    print_comparison(comparison, console)
    if output is not None:
        write_json(output, comparison.as_json())
    return comparison


@dataclass(frozen=True)
class _Field:
    """Everyone who takes part."""

    limit: InProcessLimit
    conch: TritonContender
    services: Sequence[ServiceContender]


@contextlib.contextmanager
def _contenders(settings: Settings, texts: Sequence[str]) -> Iterator[_Field]:
    """All contenders, started; whatever happens in the block, none of them runs afterwards."""
    [pipeline] = load_pipelines(settings.repository, [PIPELINE])
    folder = source_folder(pipeline)
    with contextlib.ExitStack() as running:
        children = [
            running.enter_context(
                ChildService(name, f"conch_tools.bench.services.{module}", str(folder), port, settings.start_timeout_s)
            )
            for (name, module, _), port in zip(SERVICES, free_ports(len(SERVICES)), strict=True)
        ]
        limit = InProcessLimit(settings.repository, PIPELINE, OUTPUT, texts)
        own = running.enter_context(own_settings(settings, "peers"))
        conch = running.enter_context(TritonContender(own, PIPELINE, texts, limit.embeddings))
        services = []
        for child, (name, _, setup) in zip(children, SERVICES, strict=True):
            child.wait_until_ready()
            load = _service_load(name, child.address, texts, limit.embeddings, settings.answer_timeout_s)
            services.append(ServiceContender(name, setup, child, load))
        yield _Field(limit, conch, services)


def _service_load(
    name: str, address: tuple[str, int], texts: Sequence[str], reference: Embeddings, timeout_s: float
) -> HttpLoad:
    api = HttpApi("/predict", text_body, read_embedding)
    return HttpLoad(name, api, address, wire_requests(api, texts, address[0]), reference, timeout_s)


def _require(seconds: float, rounds: int, concurrency: int) -> None:
    if seconds <= 0 or rounds < 1 or concurrency < 1:
        raise SettingsError("--seconds must be above zero, --rounds and --concurrency at least 1")
    missing = [name for name in MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise UnsuitableMachine(
            f"`conch bench peers` measures against packages that are not installed ({', '.join(missing)}): "
            "scripts/environment bench"
        )
