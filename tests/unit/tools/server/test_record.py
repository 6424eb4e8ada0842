"""The record by which a server is found: it is believed only while its very process lives."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest

from conch_tools.errors import NotRunning, SettingsError
from conch_tools.server.record import ServerRecord, key_path, record_of_this_process, stop_recorded
from conch_tools.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state=tmp_path / "state", stop_timeout_s=2)


@pytest.fixture
def record(settings: Settings) -> ServerRecord:
    """The record of this process, written."""
    made = record_of_this_process(settings, "127.0.0.1:1", "127.0.0.1:2", "http://127.0.0.1:3/metrics", "127.0.0.1:4")
    made.write(settings, "secret")
    return made


def files(settings: Settings) -> list[Path]:
    return list(settings.state.iterdir())


def test_a_record_is_read_back_as_it_was_written(settings: Settings, record: ServerRecord) -> None:
    assert ServerRecord.read(settings) == record
    assert record.pid == os.getpid()
    assert key_path(settings).read_text() == "secret"
    assert stat.S_IMODE(key_path(settings).stat().st_mode) == 0o600


def test_a_record_that_cannot_be_kept_is_told_with_its_setting(settings: Settings) -> None:
    settings.state.touch()
    said = f"cannot be kept in {settings.state}: File exists: {settings.state}: mend that, or set CONCH_STATE"
    with pytest.raises(SettingsError, match=re.escape(said)):
        record_of_this_process(settings, "http", "grpc", "metrics", "health").write(settings, "secret")


def test_there_is_one_record_a_port(settings: Settings, record: ServerRecord) -> None:
    assert ServerRecord.read(settings.model_copy(update={"http_port": 9000})) is None
    assert ServerRecord.read(settings) == record


def test_a_record_is_removed_with_its_key(settings: Settings, record: ServerRecord) -> None:
    record.remove(settings)
    record.remove(settings)
    assert not files(settings)


def test_a_record_of_a_process_that_took_over_the_id_is_dropped(settings: Settings, record: ServerRecord) -> None:
    replace(record, began=record.began - 60).write(settings, "secret")
    assert ServerRecord.read(settings) is None
    assert not files(settings)


def test_a_clock_that_was_set_does_not_make_a_record_unknown(settings: Settings, record: ServerRecord) -> None:
    replace(record, began=record.began + 3).write(settings, "secret")
    assert ServerRecord.read(settings) is not None


def spoilt(**fields: object) -> bytes:
    """A record of this process, but for some fields."""
    sound = asdict(record_of_this_process(Settings(), "http", "grpc", "metrics", "health"))
    return json.dumps({**sound, **fields}).encode()


DAMAGED = {
    "empty": b"",
    "cut": spoilt()[:-3],
    "not text": b"\xff\xfe\x00",
    "a list": b"[]",
    "a list of fields": b'[1, 2.0, "http", "grpc", "metrics"]',
    "a field alone": b'{"pid": 1}',
    "another field": b'{"colour": "blue"}',
    "nested deeply": b"[" * 100_000,
    "pid in words": spoilt(pid="abc"),
    "pid as a list": spoilt(pid=[1]),
    "pid as text": spoilt(pid=str(os.getpid())),
    "huge pid": spoilt(pid=10**30),
    "negative pid": spoilt(pid=-1),
    "began in words": spoilt(began="today"),
    "began at no time": spoilt(began=float("nan")),
    "address as a number": spoilt(http=8000),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_record_that_is_none_is_dropped(settings: Settings, record: ServerRecord, content: bytes) -> None:
    (path,) = settings.state.glob("*.json")
    path.write_bytes(content)
    assert ServerRecord.read(settings) is None
    assert not path.exists()


def test_without_a_record_there_is_nothing_to_stop(settings: Settings) -> None:
    with pytest.raises(NotRunning, match=f"no server of this checkout runs on port {settings.http_port}"):
        stop_recorded(settings)


STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
OBEDIENT = "import time; print('up', flush=True); time.sleep(60)"


@pytest.fixture
def started(settings: Settings, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """A process with a record, which runs the code that the test asks for."""
    with subprocess.Popen([sys.executable, "-c", request.param], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        began = psutil.Process(process.pid).create_time()
        ServerRecord(process.pid, began, "http", "grpc", "metrics", "health", "models", None).write(settings, "secret")
        yield process
        process.kill()


@pytest.mark.parametrize("started", [OBEDIENT], indirect=True)
def test_a_recorded_process_is_asked_to_stop(settings: Settings, started: subprocess.Popen[str]) -> None:
    assert stop_recorded(settings) == f"stopped (process {started.pid})"
    assert not psutil.pid_exists(started.pid)
    assert not files(settings)


@pytest.mark.parametrize("started", [STUBBORN], indirect=True)
def test_one_that_does_not_listen_is_killed(
    settings: Settings, started: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conch_tools.server.record.STOP_MARGIN_S", 0.5)
    hasty = settings.model_copy(update={"stop_timeout_s": 0.1})
    stop_recorded(hasty)
    assert not psutil.pid_exists(started.pid)
    assert not files(settings)
