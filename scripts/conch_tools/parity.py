"""`conch parity`: whether what is served now still answers as the reference libraries do, and how far it is off.

A build proves this once, before anything reaches the repository. Here the references are asked anew and the artifacts
are served as they are, over both protocols: what a changed file, library or machine did to the answers shows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table
from rich.text import Text

from conch_client import Client
from conch_tools.build.builder import builder_of
from conch_tools.build.parity import OverGrpc, OverHttp, check_server
from conch_tools.build.reference import Reference
from conch_tools.build.workers import in_workers
from conch_tools.errors import ParityError
from conch_tools.pipelines import Pipeline, load_pipeline, models_of
from conch_tools.serve import require_sound
from conch_tools.server import EmbeddedServer, ServerOptions
from conch_tools.server.ports import free_ports
from conch_tools.settings import Settings

Report = Callable[[str], None]


@dataclass(frozen=True)
class Verdict:
    """One pipeline against its reference, over gRPC and HTTP together."""

    pipeline: str
    library: str
    cases: int
    """Answers compared."""
    worst_difference: float
    tolerance: float
    problem: str | None
    """What differs, None when everything agrees."""


def parity(settings: Settings, pipelines: Sequence[Pipeline], report: Report) -> list[Verdict]:
    """Ask every pipeline its parity corpus, in batches of 1, 2, 7 and 32 and as concurrent singles.

    Raises RepositoryError when something is not built, and what the references or the server raise; a difference is
    no error here but a verdict.
    """
    models = models_of(pipelines)
    require_sound(settings, models)
    jobs = {each.name: (each.folder,) for each in pipelines}
    references: dict[str, Reference] = {}
    for name, reference in in_workers(reference_of, jobs):
        references[name] = reference
        report(f"{name}: {len(reference.items)} answers from {reference.library}")
    http, grpc, metrics = free_ports(3)
    own = {"http_port": http, "grpc_port": grpc, "metrics_port": metrics, "response_cache_bytes": 0}
    # What changed at run time is kept in the state folder, and no reference knows of it.
    with tempfile.TemporaryDirectory(prefix="conch-parity-") as state:
        trial = settings.model_copy(update={**own, "state": Path(state)})
        with EmbeddedServer(ServerOptions(trial, models=models)) as server:
            return [_compare(server, references[each.name], each.name, settings.start_timeout_s) for each in pipelines]


def reference_of(folder: Path) -> Reference:
    """A pipeline's reference, from its source. Runs in a worker process."""
    return builder_of(load_pipeline(folder)).reference()


def _compare(server: EmbeddedServer, reference: Reference, pipeline: str, timeout_s: float) -> Verdict:
    cases, worst = 0, 0.0
    try:
        with Client(server.grpc_url, timeout_s=timeout_s) as client, OverHttp(server.http_url, timeout_s) as http:
            for ask in (OverGrpc(client), http):
                agreement = check_server(pipeline, reference, ask)
                cases += agreement.cases
                worst = max(worst, agreement.worst_difference)
    except ParityError as problem:
        return Verdict(pipeline, reference.library, cases, float("nan"), reference.tolerance, str(problem))
    return Verdict(pipeline, reference.library, cases, worst, reference.tolerance, None)


def verdicts_table(verdicts: Sequence[Verdict]) -> Table:
    """Pipeline, reference, cases, worst difference, gate, verdict."""
    table = Table(highlight=False)
    for heading in ("pipeline", "reference"):
        table.add_column(heading, overflow="fold")
    for heading in ("cases", "worst difference", "gate"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", overflow="fold")
    for each in verdicts:
        worst = "-" if each.problem else f"{each.worst_difference:.1e}"
        cells = (each.pipeline, each.library, str(each.cases), worst, f"{each.tolerance:.0e}", each.problem or "equal")
        table.add_row(*map(Text, cells))
    return table
