"""Settings come from CONCH_ variables; one that cannot be used is named with its value."""

from __future__ import annotations

from pathlib import Path

import pytest

from conch_tools.errors import SettingsError
from conch_tools.settings import load_settings, project_root


def test_the_defaults_are_this_checkout_on_tritons_own_ports_and_this_machine_only() -> None:
    settings = load_settings()
    assert settings.repository == project_root() / "model_repository"
    assert settings.backends == project_root() / "python_backends"
    assert (settings.host, settings.http_port, settings.grpc_port, settings.metrics_port) == (
        "127.0.0.1",
        8000,
        8001,
        8002,
    )


def test_the_environment_overrides_the_defaults_and_arguments_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CONCH_HTTP_PORT", "9000")
    monkeypatch.setenv("CONCH_GRPC_PORT", "9001")
    monkeypatch.setenv("CONCH_REPOSITORY", str(tmp_path))
    monkeypatch.setenv("CONCH_UNKNOWN", "is nobody's business")
    settings = load_settings(grpc_port=7001, profile=None)
    assert (settings.repository, settings.http_port, settings.grpc_port) == (tmp_path, 9000, 7001)
    assert settings.profile is None


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CONCH_HTTP_PORT", "http"),
        ("CONCH_HTTP_PORT", "0"),
        ("CONCH_GRPC_PORT", "65536"),
        ("CONCH_METRICS_PORT", ""),
        ("CONCH_HOST", ""),
        ("CONCH_STATE", ""),
        ("CONCH_PROFILE", ""),
        ("CONCH_START_TIMEOUT_S", "-1"),
        ("CONCH_STOP_TIMEOUT_S", "0.5"),
        ("CONCH_ANSWER_TIMEOUT_S", "soon"),
        ("CONCH_START_TIMEOUT_S", "inf"),
        ("CONCH_STOP_TIMEOUT_S", "inf"),
        ("CONCH_RESPONSE_CACHE_BYTES", "64M"),
        ("CONCH_RESPONSE_CACHE_BYTES", "1"),
        ("CONCH_RESPONSE_CACHE_BYTES", "9" * 20),
    ],
)
def test_a_value_that_cannot_be_used_is_named_with_its_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert str(refused.value).startswith(f"{variable}={value!r} is not usable: ")
