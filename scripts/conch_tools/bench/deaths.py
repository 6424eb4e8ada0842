"""The ways in which a process of a server dies in a measurement. Imports nothing, for the command line names them."""

from __future__ import annotations

import enum
import signal


class How(str, enum.Enum):
    """What is done to which process."""

    KILL = "kill"
    """A step's process is killed (SIGKILL)."""
    STOP = "stop"
    """A step's process is stopped (SIGSTOP): it is there and answers nobody."""
    SERVER = "server"
    """tritonserver itself is killed."""

    @property
    def signal(self) -> signal.Signals:
        """What is sent to the process."""
        return signal.SIGSTOP if self is How.STOP else signal.SIGKILL
