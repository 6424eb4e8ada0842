"""A server of one's own shares nothing with another that could disturb either."""

from __future__ import annotations

from pathlib import Path

from conch_tools.server.own import own_settings
from conch_tools.settings import Settings

OWN = ("http_port", "grpc_port", "metrics_port", "response_cache_bytes", "state")


def test_ports_state_and_cache_are_its_own_and_the_rest_is_shared(tmp_path: Path) -> None:
    settings = Settings(state=tmp_path, repository=tmp_path / "models", profile="tuned")
    with own_settings(settings, "test") as first, own_settings(settings, "test") as second:
        assert first.response_cache_bytes == 0
        assert len({each.state for each in (settings, first, second)}) == 3
        ports = [
            port for each in (settings, first, second) for port in (each.http_port, each.grpc_port, each.metrics_port)
        ]
        assert len(set(ports)) == 9
        assert first.model_copy(update={name: getattr(settings, name) for name in OWN}) == settings
        (first.state / "changed").touch()
    assert not first.state.exists()
