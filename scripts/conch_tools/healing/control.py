"""Triton's model control over HTTP, with the admin key: configurations, loading, readiness. Every call has a limit."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any

from conch_tools.errors import ConchError
from conch_tools.server.embedded import ADMIN_HEADER

SHORT_S = 5.0
"""For what Triton answers without work."""
READY, UNLOADING = "READY", "UNLOADING"
"""Triton's words for a version that serves, and for one that does so only for those who asked before."""


class ControlFailed(ConchError):
    """Triton did not do what it was told to."""


class Refused(ControlFailed):
    """Triton answered that it does not: another server would not either."""


class Unanswered(ControlFailed):
    """Triton did not answer in time, or nobody listens: what was asked for may still happen."""


class Control:
    """One server's model control. Safe to use from several threads: each call is a connection of its own."""

    def __init__(self, address: str, admin_key: str) -> None:
        self._address = address
        self._admin_key = admin_key

    def ready_models(self) -> list[str]:
        """The names of the models that Triton calls ready, ensembles included. Raises ControlFailed."""
        index = json.loads(self._call("POST", "/v2/repository/index", {"ready": True}, SHORT_S))
        return sorted({each["name"] for each in index})

    def config(self, model: str) -> dict[str, Any]:
        """The configuration as the server completed it. Raises ControlFailed."""
        found: dict[str, Any] = json.loads(self._call("GET", f"/v2/models/{model}/config", None, SHORT_S))
        return found

    def states(self, model: str) -> dict[int, str]:
        """What Triton says of every version of a model that it has met: READY, LOADING, UNLOADING, UNAVAILABLE. Raises
        ControlFailed."""
        index = json.loads(self._call("POST", "/v2/repository/index", {}, SHORT_S))
        return {
            int(each["version"]): each.get("state", "")
            for each in index
            if each["name"] == model and each.get("version")
        }

    def ready_versions(self, model: str) -> list[int]:
        """The versions of a model that are served, sorted. Raises ControlFailed."""
        return sorted(version for version, state in self.states(model).items() if state == READY)

    def statistics(self, model: str) -> dict[str, Any]:
        """What the latest version of a model has done since it was loaded, batch by batch. Raises ControlFailed."""
        found: dict[str, Any] = json.loads(self._call("GET", f"/v2/models/{model}/stats", None, SHORT_S))
        return dict(found["model_stats"][-1])

    def is_ready(self, model: str) -> bool:
        """Whether Triton calls the model ready; False as well when it does not answer."""
        try:
            self._call("GET", f"/v2/models/{model}/ready", None, SHORT_S)
        except ControlFailed:
            return False
        return True

    def load(self, model: str, config: Mapping[str, Any] | None, timeout_s: float) -> None:
        """Load a model with this configuration, or with the repository's. Raises Refused with what Triton said, and
        Unanswered when it says nothing.

        With None nothing is done when no file has changed; with a configuration Triton always loads anew, and the
        files, which may be on a read-only mount, are not touched.
        """
        body = {} if config is None else {"parameters": {"config": json.dumps(config)}}
        self._call("POST", f"/v2/repository/models/{model}/load", body, timeout_s)

    def unload(self, model: str, timeout_s: float) -> None:
        """Unload a model. Raises ControlFailed."""
        self._call("POST", f"/v2/repository/models/{model}/unload", {}, timeout_s)

    def _call(self, method: str, path: str, body: dict[str, Any] | None, timeout_s: float) -> bytes:
        connection = http.client.HTTPConnection(self._address, timeout=timeout_s)
        try:
            connection.request(
                method, path, None if body is None else json.dumps(body), {ADMIN_HEADER: self._admin_key}
            )
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as problem:
            raise Unanswered(f"{method} {path} got no answer within {timeout_s:g} s: {problem}") from problem
        finally:
            connection.close()
        if answer.status != http.client.OK:
            raise Refused(f"{method} {path}: {_reason(content) or answer.reason}")
        return content


def _reason(content: bytes) -> str:
    try:
        return str(json.loads(content)["error"])
    except (ValueError, KeyError, TypeError):
        return content.decode(errors="replace").strip()
