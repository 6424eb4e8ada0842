"""Ports: find free ones for tests and builds, and say who has one that is taken."""

from __future__ import annotations

import contextlib
import errno
import socket

import psutil

from conch_tools.errors import ConchError, PortTaken, SettingsError
from conch_tools.settings import Settings

PURPOSES = {"http_port": "Triton HTTP", "grpc_port": "Triton gRPC", "metrics_port": "Triton metrics"}
"""Setting of each port the server listens on, and what it is for."""


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Ports that were free a moment ago, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((host, 0))
        return [each.getsockname()[1] for each in sockets]


def require_ports(settings: Settings) -> None:
    """Raise unless the server's ports differ and can be listened on.

    Raises PortTaken, naming the process if we may see it, or SettingsError for an address or a port that is not ours.
    """
    variables: dict[int, str] = {}
    for field, purpose in PURPOSES.items():
        port, variable = getattr(settings, field), f"CONCH_{field.upper()}"
        if port in variables:
            raise SettingsError(f"{variables[port]} and {variable} are both {port}: give each a port of its own")
        variables[port] = variable
        require_free(settings.host, port, purpose, variable)


def require_health_port(settings: Settings) -> None:
    """Raise PortTaken or SettingsError unless the health endpoint can listen beside the server."""
    port = settings.health_port
    for field in PURPOSES:
        if getattr(settings, field) == port:
            raise SettingsError(
                f"CONCH_{field.upper()} and CONCH_HEALTH_PORT are both {port}: give each a port of its own"
            )
    require_free(settings.host, port, "health", "CONCH_HEALTH_PORT")


def require_free(host: str, port: int, purpose: str, variable: str) -> None:
    """Raise PortTaken or SettingsError unless the port can be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as problem:
            raise _refusal(problem, host, port, purpose, variable) from problem


def listens_on_all(pid: int, settings: Settings) -> bool:
    """Whether a process of ours listens on all the server's ports; True where the system does not let us look."""
    try:
        connections = psutil.Process(pid).net_connections(kind="tcp")
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
    own = {each.laddr.port for each in connections if each.status == psutil.CONN_LISTEN}
    return own.issuperset(getattr(settings, field) for field in PURPOSES)


def _refusal(problem: OSError, host: str, port: int, purpose: str, variable: str) -> ConchError:
    if problem.errno == errno.EADDRINUSE:
        return PortTaken(port, purpose, variable, _owner(port))
    if problem.errno == errno.EACCES:
        return SettingsError(f"this user may not listen on port {port} ({purpose}): set {variable} to one from 1024 on")
    return SettingsError(f"CONCH_HOST={host!r} is no IPv4 address of this machine: the usual one is 127.0.0.1")


def _owner(port: int) -> str | None:
    try:
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f"process {connection.pid} ({psutil.Process(connection.pid).name()})"
    except psutil.Error:
        return None
    return None
