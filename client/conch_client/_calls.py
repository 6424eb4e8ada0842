"""What a client knows before it asks anything: where its server is, and how its calls are made."""

from __future__ import annotations

import itertools
import os
from dataclasses import replace

from . import _arguments as arguments
from ._call import Call, Deadline, checked_timeout
from ._constants import DEFAULT_GRPC_PORT, DEFAULT_URL, INT64_MAX
from ._errors import InvalidInput, is_unicode, shown


class Calls:
    """Makes the calls of one client, which threads may share. All that it is given may be of any type: what does
    not fit is InvalidInput.
    """

    def __init__(self, url: object, timeout_s: object) -> None:
        """`timeout_s` is the limit of calls that have none of their own."""
        self.endpoint = _endpoint(url)
        self.timeout_s = checked_timeout(timeout_s)
        # Unique without a lock: next() on a count is atomic, and each client has its own prefix.
        self._id_prefix = os.urandom(4).hex()
        self._ids = itertools.count(1)

    def to_server(self, timeout_s: object) -> Call:
        return Call(
            endpoint=self.endpoint,
            deadline=Deadline(self.timeout_s if timeout_s is None else checked_timeout(timeout_s)),
            request_id=f"{self._id_prefix}-{next(self._ids)}",
        )

    def to_model(self, model: object, timeout_s: object, version: object = "", request_id: object = None) -> Call:
        """`request_id` is made up if none is given."""
        call = self.to_server(timeout_s)
        name = arguments.text("the name of a model", model, call)
        if not name:
            raise call.error(InvalidInput, "the name of a model is empty")
        own_id = "" if request_id is None else arguments.text("request_id", request_id, call)
        return replace(call, model=name, version=_version(version, call), request_id=own_id or call.request_id)


def _version(version: object, call: Call) -> str:
    if isinstance(version, str):
        return arguments.text("version", version, call)
    number = arguments.whole_number(version)
    if number is None or not 0 <= number <= INT64_MAX:
        raise call.error(InvalidInput, f"version is a whole number or its digits, got {shown(version)}")
    return str(number)


def _endpoint(url: object) -> str:
    """gRPC's address for the URL: host:port, or one of gRPC's own schemes (dns:, unix:, ipv4:) as it is."""
    cure = f"give host:port, for instance {DEFAULT_URL}"
    if not isinstance(url, str) or not is_unicode(url):
        raise InvalidInput(f"the url is a text: {cure}, got {shown(url)}")
    if url.startswith(("http://", "https://")):
        raise InvalidInput(f"this client speaks gRPC: {cure}, got {url!r}")
    address = url.strip().removeprefix("grpc://")
    if not address:
        raise InvalidInput(f"the url is empty: {cure}")
    has_port = ":" in address.rpartition("]")[2]
    return address if has_port else f"{address}:{DEFAULT_GRPC_PORT}"
