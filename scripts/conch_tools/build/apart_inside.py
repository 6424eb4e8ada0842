"""The inner side of a process apart (see apart.py): how it leaves the network, and how it answers what it is asked.

It imports nothing that starts threads: a process that has some cannot leave.
"""

from __future__ import annotations

import ctypes
import json
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from conch_tools.lifeline import die_with_parent

REQUEST, ANSWER, ROWS, SCORES, GRAPH = "request.json", "answer.json", "rows.npy", "scores.npy", "model.onnx"
PROBLEM = "problem"
"""In an answer: why there is none."""
ROUNDING = 1e-4
"""By which probabilities may miss their sum."""
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
Answered = Callable[[Mapping[str, Any], Path], dict[str, Any]]
"""What a request is answered; rows, scores and a graph lie in the folder."""


class Refusal(Exception):
    """A sentence for the user."""


def serve(answered: Answered) -> None:
    """Of a module that runs apart: answer the request in the folder that the command line names."""
    leave_network()
    # Last, because a change of namespaces makes the kernel forget it.
    die_with_parent()
    answer_in(Path(sys.argv[1]), answered)


def answer_in(folder: Path, answered: Answered) -> None:
    """Write what a request is answered, or why it is not."""
    request = json.loads((folder / REQUEST).read_text(encoding="utf-8"))
    try:
        answer = answered(request, folder)
    except Refusal as refused:
        answer = {PROBLEM: str(refused)}
    (folder / ANSWER).write_text(json.dumps(answer), encoding="utf-8")


def leave_network() -> None:
    """Of this process, before it starts any thread: no network from here on.

    Where the kernel does not take it away (a container may forbid that), Python refuses to open sockets. That holds
    back code that means no harm, and no other.
    """
    libc = ctypes.CDLL(None)
    # A user without rights may have a namespace of users, in which it has the right to one of networks.
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0 and libc.unshare(CLONE_NEWNET) != 0:
        socket.socket = _NoSocket  # type: ignore[assignment, misc]


def answer_rows(folder: Path, scores_of: Callable[[Any], Any]) -> None:
    """Write the scores of the rows in the folder, if some lie there: each is asked alone, as an array of one row,
    because what it is answered must not depend on those beside it."""
    if not (folder / ROWS).is_file():
        return
    import numpy as np

    rows = np.load(folder / ROWS, allow_pickle=False)
    np.save(folder / SCORES, np.stack([scores_of(row[None])[0] for row in rows]), allow_pickle=False)


def are_probabilities(scores: Any) -> bool:
    """Whether rows of numbers [n, classes] are probabilities of classes of which one fits."""
    return bool((scores >= 0).all() and (abs(scores.sum(1) - 1) < ROUNDING).all())


class _NoSocket(socket.socket):
    def __init__(self, *given: object, **named: object) -> NoReturn:
        raise PermissionError("a model that is being loaded has no network")
