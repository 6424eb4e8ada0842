"""`conch ready`: what the running server's health endpoint says, for people, scripts and container probes."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

from conch_tools.errors import NotRunning, SettingsError
from conch_tools.server.record import ServerRecord
from conch_tools.settings import Settings


def ready(settings: Settings, names: Sequence[str]) -> list[tuple[str, bool]]:
    """A line a pipeline and whether it is well or comes back on demand, of all or of those named.

    Raises NotRunning without a server of this checkout, SettingsError for a pipeline that it does not serve.
    """
    pipelines = served_health(ServerRecord.require(settings), settings.answer_timeout_s)
    for name in names:
        if name not in pipelines:
            raise SettingsError(f"the server does not serve `{name}`, but {', '.join(pipelines) or 'no pipeline'}")
    chosen = {name: pipelines[name] for name in names} if names else pipelines
    return [(f"{name}: {_said(each)}", bool(each["well"]) or each["evicted"]) for name, each in chosen.items()]


def _said(pipeline: dict[str, Any]) -> str:
    if pipeline["evicted"]:
        return "evicted"
    if pipeline["well"] is None:
        return "not asked yet"
    return "well" if pipeline["well"] else f"not well: {pipeline['problem']}"


def served_health(record: ServerRecord, timeout_s: float) -> dict[str, dict[str, Any]]:
    """What the health endpoint says of every pipeline that is served, by name. Raises NotRunning when it does not
    answer."""
    url = f"http://{record.health}/ready"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=timeout_s) as answer:
            content = answer.read()
    except urllib.error.HTTPError as not_ready:
        content = not_ready.read()
    except OSError as problem:
        raise NotRunning(f"the server's health endpoint {url} does not answer: {problem}") from problem
    found: dict[str, dict[str, Any]] = json.loads(content)["pipelines"]
    return found
