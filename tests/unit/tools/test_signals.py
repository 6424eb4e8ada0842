"""Signals that ask to stop: the first one unwinds, and later ones do not disturb that."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from conch_tools.signals import STOP_SIGNALS, Stopped, signals_raise_stopped


@pytest.fixture
def handlers_are_restored() -> Iterator[None]:
    """Whatever a test does to the signals, they are afterwards as before."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers_are_restored")
@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_the_first_signal_stops_and_later_ones_do_not_disturb_the_stopping(number: signal.Signals) -> None:
    # The tests may run under nohup.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    before = [signal.getsignal(each) for each in STOP_SIGNALS]
    with pytest.raises(Stopped) as stopped, signals_raise_stopped():
        try:
            os.kill(os.getpid(), number)
        finally:
            for each in STOP_SIGNALS:
                os.kill(os.getpid(), each)
    assert stopped.value.number == number
    assert [signal.getsignal(each) for each in STOP_SIGNALS] == before


@pytest.mark.usefixtures("handlers_are_restored")
def test_under_nohup_the_end_of_the_terminal_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with signals_raise_stopped():
        os.kill(os.getpid(), signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.mark.usefixtures("handlers_are_restored")
def test_in_the_background_of_a_script_an_interrupt_stops_all_the_same() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with pytest.raises(Stopped), signals_raise_stopped():
        os.kill(os.getpid(), signal.SIGINT)
