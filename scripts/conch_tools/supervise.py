"""Hold a server until a signal asks to stop, and keep it well: heal what dies in it, replace it when it dies itself.

The main thread does nothing but this, because the kernel ends a server with the thread that started it.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Sequence

from conch_tools.budget.demands import Demands
from conch_tools.budget.keeper import Away, Keeper
from conch_tools.errors import ConchError, ServerFailed
from conch_tools.healing.control import ControlFailed
from conch_tools.healing.endpoint import health_endpoint
from conch_tools.healing.healer import Healer
from conch_tools.healing.journal import Journal
from conch_tools.healing.wishes import Wishes
from conch_tools.pipelines import Pipeline, models_of
from conch_tools.releases.folders import pipelines_named
from conch_tools.serve import Report
from conch_tools.server import EmbeddedServer
from conch_tools.server.failure import how_it_ended
from conch_tools.settings import Settings
from conch_tools.signals import Stopped

POLL_S = 0.2
MOST_RESTARTS = 5
RESTARTS_COUNT_FOR_S = 300.0
"""More restarts than MOST_RESTARTS in this time mean that restarting does not help."""
FIRST_PAUSE_S = 2.0
"""After a restart that failed; doubled each time."""


def supervise(server: EmbeddedServer, settings: Settings, pipelines: Sequence[Pipeline], report: Report) -> None:
    """Return when a signal asks to stop. Raises ServerFailed when tritonserver has to be replaced and may not be, or
    cannot."""

    def told(line: str) -> None:
        # A closed terminal or a full disk takes no lines, and must not end the healing.
        with contextlib.suppress(OSError, ValueError):
            report(line)

    journal, wishes = Journal.of(pipelines, told), Wishes()
    demands, away = Demands(journal, settings.start_timeout_s), Away()
    restarts: deque[float] = deque(maxlen=MOST_RESTARTS)
    try:
        with health_endpoint(settings.host, settings.health_port, journal.health, journal.metrics, demands.ask):
            while True:
                with Keeper(server, settings, journal, demands, away):
                    why = _hold(server, settings, pipelines, journal, wishes)
                journal.lost(f"tritonserver {why}")
                if not settings.heal:
                    raise ServerFailed(f"tritonserver {why}; the log above says more")
                pipelines = _served_now(settings, pipelines, journal)
                # None of a repository without pipelines, which is served whole.
                models = models_of(pipelines) if journal.health.all() else None
                _replace(server, models, why, restarts, journal)
                wishes.forget()
    except Stopped:
        return


def _hold(
    server: EmbeddedServer, settings: Settings, pipelines: Sequence[Pipeline], journal: Journal, wishes: Wishes
) -> str:
    """Hold the server until it has to be replaced; returns why, as what follows "tritonserver"."""
    try:
        healer = Healer(server, settings, pipelines, journal, wishes)
    except ControlFailed as problem:
        return f"cannot be controlled: {problem}"
    with healer:
        while True:
            code = server.wait(POLL_S)
            if code is not None:
                return f"{how_it_ended(code)} though nobody stopped it"
            if wishes.pending is not None:
                return f"is to be replaced, because {wishes.pending}"


def _served_now(settings: Settings, before: Sequence[Pipeline], journal: Journal) -> Sequence[Pipeline]:
    """What was served last, as loads and unloads have left it, and as the repository has it now; as it was before where
    that cannot be read."""
    try:
        return pipelines_named(settings.repository, journal.health.in_memory(), settings.profile)
    except ConchError as problem:
        journal.report(f"the pipelines cannot be read anew: {problem}")
        return before


def _replace(
    server: EmbeddedServer, models: Sequence[str] | None, why: str, restarts: deque[float], journal: Journal
) -> None:
    """Start a new server, again after a pause when that fails. Raises ServerFailed when new ones do not help."""
    began, pause_s = time.monotonic(), FIRST_PAUSE_S
    while True:
        now = time.monotonic()
        if len(restarts) == MOST_RESTARTS and now - restarts[0] < RESTARTS_COUNT_FOR_S:
            raise ServerFailed(
                f"tritonserver {why}, after {MOST_RESTARTS} new ones in {now - restarts[0]:.0f} s: "
                "the log above says more"
            )
        restarts.append(now)
        journal.report(f"tritonserver {why}: starting a new one")
        try:
            server.restart(models)
        except ConchError as problem:
            journal.report(f"no new tritonserver: {problem}; trying again in {pause_s:g} s")
            time.sleep(pause_s)
            pause_s *= 2
        else:
            journal.restarted(time.monotonic() - began)
            return
