"""`conch up`: from whatever state the checkout is in to answers on the screen."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from conch_client import Client
from conch_tools.build.run import build
from conch_tools.errors import ServerFailed, WrongAnswers
from conch_tools.pipelines import Pipeline, load_pipelines
from conch_tools.releases.folders import as_served
from conch_tools.samples import SampleAnswer, ask
from conch_tools.serve import log_path, require_repository, served_pipelines, serving, start_detached
from conch_tools.server.memory import memory_of
from conch_tools.server.record import key_path
from conch_tools.settings import Settings
from conch_tools.supervise import supervise

SHOWN_LOG_LINES = 20
"""Of Triton's log, when it ends by itself."""


def up(settings: Settings, only: Sequence[str], detach: bool, console: Console) -> None:
    """Build what is missing, serve, ask every pipeline once, show the answers; then stay, or return with `detach`.

    Raises WrongAnswers when a pipeline does not answer as its pipeline.toml says; a detached server then runs on, so
    that it can be looked at.
    """
    require_repository(settings)
    pipelines = load_pipelines(settings.repository, only)

    def report(line: str) -> None:
        console.print(f"conch: {line}", highlight=False, markup=False, soft_wrap=True)

    if not build(settings, pipelines, report):
        report("all artifacts are current")
    report(f"starting Triton with {', '.join(pipeline.name for pipeline in pipelines)}")
    pipelines = [as_served(each, settings.profile) for each in pipelines]
    if detach:
        record = start_detached(settings, only)
        _show(settings, pipelines, record.grpc, record.pid, console)
        report(f"serving in the background (log: {log_path(settings)}); scripts/down stops it")
        return
    with serving(settings, only) as server:
        _show(settings, pipelines, server.grpc_url, server.pid, console)
        report("serving until Ctrl-C")
        try:
            supervise(server, settings, served_pipelines(settings, only), report)
        except ServerFailed:
            console.print("\n".join(server.log[-SHOWN_LOG_LINES:]), highlight=False, markup=False)
            raise
        report("stopping")


def _show(settings: Settings, pipelines: Sequence[Pipeline], grpc_url: str, pid: int, console: Console) -> None:
    with Client(grpc_url, timeout_s=settings.answer_timeout_s) as client:
        answers = [ask(client, pipeline, pipeline.samples[0]) for pipeline in pipelines]
    console.print(answers_table(answers))
    console.print(
        f"HTTP  http://{settings.host}:{settings.http_port}    gRPC  {grpc_url}    "
        f"metrics  http://{settings.host}:{settings.metrics_port}/metrics\n"
        f"health  http://{settings.host}:{settings.health_port}/ready    memory  {memory_of(pid)}\n"
        f"admin key  {key_path(settings)}",
        highlight=False,
        soft_wrap=True,
    )
    wrong = [f"`{answer.pipeline}`: {answer.problem}" for answer in answers if answer.problem]
    if wrong:
        raise WrongAnswers("; ".join(wrong))


def answers_table(answers: Sequence[SampleAnswer]) -> Table:
    """Pipeline, input, answer, latency; a failed one says why instead of its answer."""
    table = Table(highlight=False)
    for heading in ("pipeline", "input", "answer"):
        table.add_column(heading, overflow="fold")
    table.add_column("latency", justify="right", no_wrap=True)
    for each in answers:
        cells = (each.pipeline, each.input, each.problem or each.answer, f"{each.latency_ms:.1f} ms")
        # As Text, because rich reads [words in brackets] of plain strings as markup.
        table.add_row(*map(Text, cells))
    return table
