"""The inner side of a process apart (see apart.py): how it leaves the network, and the files through which both talk.

It imports nothing that starts threads: a process that has some cannot leave.
"""

from __future__ import annotations

import ctypes
import socket
from typing import NoReturn

REQUEST, ANSWER, ROWS, SCORES, GRAPH = "request.json", "answer.json", "rows.npy", "scores.npy", "model.onnx"
PROBLEM = "problem"
"""In an answer: why there is none."""
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000


def leave_network() -> None:
    """Of this process, before it starts any thread: no network from here on.

    Where the kernel does not take it away (a container may forbid that), Python refuses to open sockets. That holds
    back code that means no harm, and no other.
    """
    libc = ctypes.CDLL(None)
    # A user without rights may have a namespace of users, in which it has the right to one of networks.
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0 and libc.unshare(CLONE_NEWNET) != 0:
        socket.socket = _NoSocket  # type: ignore[assignment, misc]


class _NoSocket(socket.socket):
    def __init__(self, *given: object, **named: object) -> NoReturn:
        raise PermissionError("a model that is being loaded has no network")
