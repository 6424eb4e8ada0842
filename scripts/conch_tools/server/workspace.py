"""The folder one server runs from: a backend directory made of links, a link to the repository.

Triton starts Python stubs through an unquoted shell line, so a blank or a bracket anywhere in the path of the
repository or of the backends breaks every step. The server therefore sees both through links in a folder whose name is
always safe. That folder and the server's shared-memory regions carry the process id of their owner, so what a killed
owner left behind is recognised and swept at the next start.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

from conch_tools.check.pbtxt import Unparsable, parse
from conch_tools.errors import UnsuitableMachine
from conch_tools.server.stubs import STUB_NAME
from conch_tools.server.wheel import TritonWheel

SHARED_MEMORY = Path("/dev/shm")
END_WAIT_S = 2.0
"""What a killed process may take to be gone."""
_OWNED = re.compile(r"^conch-(?P<pid>\d+)-")


class Workspace:
    """One server's folder in the temporary directory. `remove()` deletes it and the server's shared memory."""

    def __init__(self, wheel: TritonWheel, repository: Path, backends: Path) -> None:
        sweep_abandoned()
        self.repository_source = repository.resolve()
        self.backends_source = backends.resolve()
        self.folder = Path(tempfile.mkdtemp(prefix=f"conch-{os.getpid()}-"))
        self.backends = self.folder / "backends"
        self.repository = self.folder / "repository"
        self.traces = self.folder / "trace.json"
        try:
            self._assemble(wheel)
        except OSError as problem:
            self.remove()
            raise UnsuitableMachine(
                f"the server's folder cannot be made in {self.folder.parent}: {problem.strerror}: "
                "make room there, or set TMPDIR to another place"
            ) from problem
        except BaseException:
            self.remove()
            raise

    @property
    def shared_memory_prefix(self) -> str:
        """Prefix of the names of every region the server's Python steps create."""
        return f"{self.folder.name}-"

    def _assemble(self, wheel: TritonWheel) -> None:
        if re.search(r"[^\w./-]", str(self.folder)):
            raise UnsuitableMachine(
                f"the temporary directory {self.folder.parent} has a name that Triton cannot "
                "start Python steps from: set TMPDIR to a plain path such as /tmp"
            )
        self.repository.symlink_to(self.repository_source)
        python = self.backends / "python"
        python.mkdir(parents=True)
        for part in (*wheel.python_backend.iterdir(), wheel.stub):
            if part.is_file():
                # Copied, because core refuses a backend library that a link takes out of the backend directory.
                shutil.copy(part, python)
        for adaptor in sorted(self.backends_source.glob("*/model.py")):
            (self.backends / adaptor.parent.name).symlink_to(adaptor.parent)

    def in_source_terms(self, text: str) -> str:
        """The text with the links' paths replaced by the paths people know."""
        text = text.replace(str(self.repository), str(self.repository_source))
        return text.replace(str(self.backends), str(self.backends_source))

    def backend_file(self, model: str, version: str) -> Path | None:
        """The model.py that serves a model, in the path people know; None when there is none of ours."""
        config = parse(_text_of(self.repository_source / model / "config.pbtxt"))
        backend = "" if isinstance(config, Unparsable) else config.backend
        own = self.repository_source / model / version / "model.py"
        file = own if backend == "python" else self.backends_source / backend / "model.py"
        return file if file.is_file() else None

    def remove(self) -> None:
        """Delete the folder and the shared-memory regions that the server's processes left."""
        for region in SHARED_MEMORY.glob(f"{self.shared_memory_prefix}*"):
            region.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def write_private(path: Path, text: str) -> None:
    """Write a secret so that at no moment anyone but its owner can read it."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def sweep_abandoned() -> set[int]:
    """Remove what servers left whose owning process is gone (it was killed): folders, shared memory, running processes.

    Returns the ids of those owners.
    """
    owners = _end_orphans()
    for entry, owner in _owned_entries():
        if psutil.pid_exists(owner):
            continue
        owners.add(owner)
        # Another server may sweep at the same moment.
        with contextlib.suppress(FileNotFoundError):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink()
    return owners


def _owned_entries() -> Iterator[tuple[Path, int]]:
    """This user's folders and regions of servers, with the process ids of their owners."""
    for place in (Path(tempfile.gettempdir()), SHARED_MEMORY):
        for entry in place.glob("conch-*"):
            owned = _OWNED.match(entry.name)
            with contextlib.suppress(FileNotFoundError):
                if owned is not None and entry.lstat().st_uid == os.getuid():
                    yield entry, int(owned["pid"])


def _end_orphans() -> set[int]:
    """Kill the servers and steps whose owner is gone; the ids of those owners.

    The kernel kills a server with its owner, and a step ends with its server, unless it hangs.
    """
    owned = [(process, _owner_of(process)) for process in psutil.process_iter()]
    orphans = {process: owner for process, owner in owned if owner is not None and not psutil.pid_exists(owner)}
    for orphan in orphans:
        with contextlib.suppress(psutil.Error):
            orphan.kill()
    psutil.wait_procs(orphans, END_WAIT_S)
    return set(orphans.values())


def _owner_of(process: psutil.Process) -> int | None:
    """The owner of a server or step of this user's, by the folder that its command line names."""
    try:
        command = process.cmdline() if process.uids().real == os.getuid() else []
    except psutil.Error:
        return None
    if not command or Path(command[0]).name not in ("tritonserver", STUB_NAME):
        return None
    owned = (_OWNED.match(part) for argument in command for part in argument.split("/"))
    return next((int(each["pid"]) for each in owned if each), None)


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
