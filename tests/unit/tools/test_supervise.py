"""A server is held until a signal comes, replaced when it ends, and given up when new ones end as well."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from conch_tools import supervise as module
from conch_tools.errors import ServerFailed
from conch_tools.healing.control import ControlFailed
from conch_tools.healing.wishes import Wishes
from conch_tools.server.ports import free_ports
from conch_tools.settings import Settings
from conch_tools.signals import Stopped
from conch_tools.supervise import MOST_RESTARTS, supervise


class Server:
    """Stands in for a server: `wait` does what the test says, and restarts are counted."""

    def __init__(self, *codes: int | None) -> None:
        self._codes = iter(codes)
        self.restarts = 0
        self.refusals: list[str] = []
        """What the next restarts fail with."""

    def wait(self, timeout_s: float | None = None) -> int | None:
        try:
            return next(self._codes)
        except StopIteration:
            raise Stopped(signal.SIGTERM) from None

    def restart(self, models: Sequence[str] | None = None) -> None:
        self.restarts += 1
        if self.refusals:
            raise ServerFailed(self.refusals.pop(0))


class Idle:
    """Stands in for the healer, and wishes for nothing."""

    def __init__(self, *_: object) -> None:
        pass

    def __enter__(self) -> Idle:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def idle(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(module, "Healer", Idle)
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.01)
    yield


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state=tmp_path, health_port=free_ports(1)[0])


Hold = Callable[[Server], list[str]]


@pytest.fixture
def hold(settings: Settings) -> Hold:
    def held(server: Server) -> list[str]:
        said: list[str] = []
        supervise(server, settings, [], said.append)  # type: ignore[arg-type]
        return said

    return held


def test_holding_ends_when_a_signal_comes(hold: Hold) -> None:
    assert hold(Server(None, None)) == []


def test_a_server_that_ends_by_itself_is_replaced(hold: Hold) -> None:
    server = Server(None, -9, None)
    first, second = hold(server)
    assert first == "tritonserver was killed by SIGKILL though nobody stopped it: starting a new one"
    assert second.startswith("tritonserver is ready again after")
    assert server.restarts == 1


def test_a_server_that_ends_again_and_again_is_given_up(hold: Hold) -> None:
    server = Server(*[1] * (MOST_RESTARTS + 1))
    with pytest.raises(ServerFailed, match=f"after {MOST_RESTARTS} new ones"):
        hold(server)
    assert server.restarts == MOST_RESTARTS


def test_a_server_that_may_not_be_healed_is_not_replaced(settings: Settings) -> None:
    server = Server(1)
    with pytest.raises(ServerFailed, match="ended with exit code 1 though nobody stopped it; the log above says more"):
        supervise(server, settings.model_copy(update={"heal": False}), [], print)  # type: ignore[arg-type]
    assert server.restarts == 0


def test_what_the_healer_wishes_for_is_granted(hold: Hold, monkeypatch: pytest.MonkeyPatch) -> None:
    reasons = iter(["it answers nobody"])

    class Wishing(Idle):
        def __init__(self, *given: object) -> None:
            *_, wishes = given
            assert isinstance(wishes, Wishes)
            for why in reasons:
                wishes.wish(why)

    monkeypatch.setattr(module, "Healer", Wishing)
    server = Server(None, None)
    assert hold(server)[0] == "tritonserver is to be replaced, because it answers nobody: starting a new one"
    assert server.restarts == 1


def test_a_server_that_cannot_be_controlled_is_replaced(hold: Hold, monkeypatch: pytest.MonkeyPatch) -> None:
    refusals = iter([ControlFailed("no answer")])

    def make(*_: object) -> Idle:
        for refusal in refusals:
            raise refusal
        return Idle()

    monkeypatch.setattr(module, "Healer", make)
    server = Server()
    assert hold(server)[0] == "tritonserver cannot be controlled: no answer: starting a new one"


def test_a_restart_that_fails_is_tried_again_after_a_pause(hold: Hold) -> None:
    server = Server(-9, None)
    server.refusals = ["tritonserver refused the repository: model `mood`"]
    said = hold(server)
    assert said[1] == "no new tritonserver: tritonserver refused the repository: model `mood`; trying again in 0.01 s"
    assert said[-1].startswith("tritonserver is ready again after") and server.restarts == 2


def test_restarts_that_fail_again_and_again_are_given_up(hold: Hold) -> None:
    server = Server(-9)
    server.refusals = ["no"] * (MOST_RESTARTS + 1)
    with pytest.raises(ServerFailed, match=f"after {MOST_RESTARTS} new ones"):
        hold(server)
    assert server.restarts == MOST_RESTARTS


def test_a_log_that_takes_no_lines_does_not_end_the_healing(settings: Settings) -> None:
    def full(line: str) -> None:
        raise OSError("No space left on device")

    server = Server(-9, None)
    supervise(server, settings, [], full)  # type: ignore[arg-type]
    assert server.restarts == 1
