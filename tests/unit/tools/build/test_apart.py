"""The process apart: what is said when it dies, and what holds where the kernel leaves it its network."""

from __future__ import annotations

import subprocess
import sys

import pytest

from conch_tools.build.apart import ask_apart
from conch_tools.errors import BuildError

WITHOUT_NAMESPACES = """
from conch_tools.build import apart_inside

class Refusing:
    def unshare(self, flags):
        return -1

apart_inside.ctypes.CDLL = lambda name: Refusing()
apart_inside.leave_network()
import socket
try:
    socket.create_connection(("127.0.0.1", 9), 1)
except PermissionError as refused:
    print(refused)
"""


def test_sockets_are_refused_where_the_kernel_gives_no_namespace() -> None:
    said = subprocess.check_output([sys.executable, "-c", WITHOUT_NAMESPACES], text=True, timeout=60)
    assert said.strip() == "a model that is being loaded has no network"


def test_a_process_that_dies_without_a_word_is_told_with_its_last_line() -> None:
    with pytest.raises(BuildError, match=r"ended with code 1: .*No module named .*conch_tools\.nothing"):
        ask_apart("mine", "conch_tools.nothing", {})
