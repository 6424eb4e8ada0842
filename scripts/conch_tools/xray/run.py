"""`conch xray`: from what is asked on the command line to a report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from conch_tools.errors import SettingsError
from conch_tools.files import write_whole
from conch_tools.infer import parameters_of, requests_of
from conch_tools.pipelines import PIPELINE_FILE, load_pipeline
from conch_tools.server.record import key_path
from conch_tools.settings import Settings
from conch_tools.xray.advice import advice
from conch_tools.xray.as_json import plain
from conch_tools.xray.diff import compared
from conch_tools.xray.measure import Load, measured
from conch_tools.xray.page import page_of
from conch_tools.xray.plan import plan_of
from conch_tools.xray.report import Examined, Report
from conch_tools.xray.server import Server
from conch_tools.xray.table import rendered
from conch_tools.xray.target import Target, target_of
from conch_tools.xray.tensors import facts_of
from conch_tools.xray.walk import Parameters, walk


@dataclass(frozen=True)
class Asked:
    """One request, as it is written on the command line, and what to do with it."""

    arguments: Sequence[str]
    """As `conch infer` takes them; none: the pipeline's first sample."""
    parameters: Sequence[str]
    load: Load
    against: str | None
    """Another model, NAME[:VERSION][@HOST:PORT]."""
    tolerance: float


def xray(settings: Settings, name: str, url: str | None, asked: Asked) -> Report:
    """Examine one request to a model, NAME[:VERSION].

    A step that fails is part of the report. Raises SettingsError for arguments that do not fit the model,
    RepositoryError for an ensemble that never finishes, and the client's errors where the server or the model is not
    there.
    """
    own = f"{settings.host}:{settings.grpc_port}"
    target = target_of(name, url or own)
    parameters = parameters_of(asked.parameters)
    with Server(target.url, _admin_key(settings, target.url), settings.answer_timeout_s) as server:
        values = _values(settings, server, target, asked.arguments)
        one = _examined(server, target, values, parameters, asked)
    if asked.against is None:
        return Report(one, None, (), asked.tolerance)
    against = target_of(asked.against, target.url)
    with Server(against.url, _admin_key(settings, against.url), settings.answer_timeout_s) as server:
        other = _examined(server, against, values, parameters, asked)
    differences = compared(one.plan, one.walk, other.plan, other.walk, asked.tolerance)
    return Report(one, other, tuple(differences), asked.tolerance)


def shown(report: Report, console: Console, html: Path | None, as_json: bool) -> None:
    """Print the report, then write it as a page as well. Raises OSError where the page cannot be written."""
    if as_json:
        print(json.dumps(plain(report)))
    else:
        console.print(rendered(report))
    if html is not None:
        write_whole(html, page_of(report))


def _admin_key(settings: Settings, url: str) -> str | None:
    """Of the server that this checkout serves, so of no other."""
    if url not in (f"{settings.host}:{settings.grpc_port}", f"localhost:{settings.grpc_port}"):
        return None
    try:
        return key_path(settings).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None


def _values(settings: Settings, server: Server, target: Target, arguments: Sequence[str]) -> Mapping[str, Any]:
    """The request's values by tensor."""
    if not arguments:
        folder = settings.repository / target.model
        if not (folder / PIPELINE_FILE).is_file():
            # A name that the server does not know is told as that.
            server.client.metadata(target.model, target.version)
            where = f"no {PIPELINE_FILE} in {settings.repository} has one for it"
            raise SettingsError(f"`{target.model}` needs an input, for {where}: give it a value, or NAME=VALUE")
        pipeline = load_pipeline(folder)
        return pipeline.sample_inputs(pipeline.samples[0])
    metadata = server.client.metadata(target.model, target.version)
    tensors = {tensor.name: tensor for tensor in metadata.inputs}
    (_, values), *more = requests_of(target.model, tensors, arguments)
    if more:
        raise SettingsError("xray looks at one request: give one value, or NAME=VALUE for each tensor of it")
    return values


def _examined(
    server: Server, target: Target, values: Mapping[str, Any], parameters: Parameters, asked: Asked
) -> Examined:
    sent = server.client.tensors(target.model, target.version, inputs=values)
    plan = plan_of(target.model, target.version, server.config)
    walked = walk(server.client, plan, sent, parameters, asked.tolerance)
    datatypes = plan.datatypes
    facts = {wire: facts_of(wire, datatypes.get(wire, "?"), array) for wire, array in walked.tensors.items()}
    if walked.failure is not None:
        return Examined(target, plan, walked, facts, "the request was not answered", ())
    timing = measured(server, plan, walked.tensors, parameters, asked.load)
    said = () if isinstance(timing, str) else tuple(advice(plan, timing, list(facts.values())))
    return Examined(target, plan, walked, facts, timing, said)
