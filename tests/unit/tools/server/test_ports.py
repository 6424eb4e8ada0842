"""Ports that cannot be listened on are refused with the reason that a person can act upon."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from conch_tools.errors import PortTaken, SettingsError
from conch_tools.server.ports import free_ports, require_free, require_health_port, require_ports
from conch_tools.settings import Settings


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that this process listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def settings(**ports: int) -> Settings:
    return Settings(state=Path("unused"), **ports)  # type: ignore[arg-type]


def test_free_ports_differ_and_can_be_listened_on() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    for port in ports:
        require_free("127.0.0.1", port, "test", "CONCH_TEST_PORT")


def test_a_taken_port_is_named_with_its_purpose_its_process_and_its_setting(taken: int) -> None:
    http, metrics = free_ports(2)
    with pytest.raises(PortTaken) as refused:
        require_ports(settings(http_port=http, grpc_port=taken, metrics_port=metrics))
    said = str(refused.value)
    assert said.startswith(f"port {taken} (Triton gRPC) is taken by process {os.getpid()} (")
    assert said.endswith("stop that process, or set CONCH_GRPC_PORT to a free port")


def test_a_port_that_was_in_use_a_moment_ago_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)), listener.accept()[0]:
            pass
    require_free("127.0.0.1", port, "test", "CONCH_TEST_PORT")


def test_two_services_cannot_share_a_port() -> None:
    http, grpc = free_ports(2)
    with pytest.raises(SettingsError, match=f"CONCH_HTTP_PORT and CONCH_METRICS_PORT are both {http}"):
        require_ports(settings(http_port=http, grpc_port=grpc, metrics_port=http))


def test_the_health_endpoint_has_a_port_of_its_own() -> None:
    http, grpc, metrics = free_ports(3)
    with pytest.raises(SettingsError, match=f"CONCH_METRICS_PORT and CONCH_HEALTH_PORT are both {metrics}"):
        require_health_port(settings(http_port=http, grpc_port=grpc, metrics_port=metrics, health_port=metrics))


@pytest.mark.parametrize("host", ["203.0.113.1", "no-such-host.invalid", "::1", "a b"])
def test_an_address_that_is_not_ours_is_a_setting_to_correct(host: str) -> None:
    with pytest.raises(SettingsError, match=f"CONCH_HOST='{host}' is no IPv4 address of this machine"):
        require_free(host, free_ports(1)[0], "test", "CONCH_TEST_PORT")
