"""Have a model brought back that the server let go because memory was short, and wait for it.

Not part of Triton: a supervisor beside it, such as Conch's, listens on an HTTP port for `POST /load/MODEL?wait_s=N`.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import time
from urllib.parse import quote

from ._call import Call
from ._constants import LOADER_ANSWER_S, LONGEST_LOAD_WAIT_S
from ._errors import InvalidInput, shown

_log = logging.getLogger("conch_client")


class Loader:
    """The endpoint at one address. Safe to use from several threads: each question is a connection of its own."""

    def __init__(self, address: object) -> None:
        cure = "give host:port, for instance localhost:8003"
        if not isinstance(address, str) or not address.strip():
            raise InvalidInput(f"the loader is the address of a text: {cure}, got {shown(address)}")
        if "/" in address:
            raise InvalidInput(f"the loader is no URL: {cure}, got {address!r}")
        self.address = address.strip()

    def brought(self, model: str, call: Call) -> bool:
        """Whether the model is there now; waits for it for the time that the call has left. Never raises for what the
        loader says, or does not say: the server's own error says more."""
        left = call.time_left_s()
        wait_s = LONGEST_LOAD_WAIT_S if left is None else max(0.0, min(left, LONGEST_LOAD_WAIT_S))
        _log.warning("model `%s` is not loaded: waiting for %s, %.0f s at most", model, self.address, wait_s)
        began = time.monotonic()
        connection = http.client.HTTPConnection(self.address, timeout=wait_s + LOADER_ANSWER_S)
        try:
            connection.request("POST", f"/load/{quote(model, safe='')}?wait_s={wait_s:.3f}")
            answer = connection.getresponse()
            said = answer.read().decode(errors="replace").strip()
        except (OSError, http.client.HTTPException) as problem:
            _log.warning("the loader %s does not answer: %s", self.address, problem)
            return False
        finally:
            connection.close()
        waited_s = time.monotonic() - began
        if answer.status == http.client.OK:
            _log.warning("model `%s` is there after %.1f s", model, waited_s)
            return True
        _log.warning("model `%s` is not there after %.1f s: %s", model, waited_s, _reason(said))
        return False


def _reason(said: str) -> str:
    """What an answer's JSON calls the error, in one line; of another answer all of it."""
    with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
        said = str(json.loads(said)["error"])
    return " ".join(said.split())
