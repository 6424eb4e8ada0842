"""Triton's log lines, read for one purpose: saying in a sentence why models did not load.

Triton reports a failed load several times over, at increasing length. The first report of each model is the cause; what
follows ("unable to load", the table at the end) repeats it, and failures of ensembles follow from those of their steps.
"""

from __future__ import annotations

import re
import signal
import sysconfig
from collections.abc import Callable, Iterable
from pathlib import Path

BackendFile = Callable[[str, str], "Path | None"]
"""The model.py behind a model and its version; None where there is none, or none can be found."""

_LOAD = re.compile(r"failed to load '(?P<model>[^']+)' version (?P<version>\d+): (?P<why>.+)")
_DEAD = re.compile(r"failed to load '(?P<model>[^']+)' version (?P<version>\d+): Internal: Stub process .* not healthy")
"""What Triton says of a Python process that died before it said that it lives; it has reaped it then."""
_CONFIG = re.compile(r"Poll failed for model directory '(?P<model>[^']+)': (?P<why>.+)")
_OTHER = re.compile(r"^E\d{4} [^\]]*\] (?P<why>.+)")
_BEGUN = re.compile(r"\] \"loading: (?P<model>.+):(?P<version>\d+)\"")
_LOADED = re.compile(r"successfully loaded '(?P<model>[^']+)'")
_HARMLESS = ("CudaDriverHelper", "unable to create stream")
"""What Triton logs as an error on every machine without a GPU."""

_SOURCE_NOTE = re.compile(r"\s*\(?/(?:tmp|opt|workspace)/\S+?\.cc:\d+\)?")
_FRAMES = re.compile(r"\s+At:\s(?P<frames>.*)$")
_FRAME = re.compile(r"(?P<file>/[^()]*)\((?P<line>\d+)\): ")
_SYNTAX = re.compile(r" \(model\.py, line (?P<line>\d+)\)$")
_EXCEPTION = re.compile(r"^Internal: (?P<kind>[A-Z]\w*): (?P<what>.+)$")
_ERROR_NUMBER = re.compile(r"^\[Errno \d+\] ")
_OWN_LIBRARY = sysconfig.get_path("stdlib")
"""Where an error comes out of this folder, the fault is in the code that called it."""
_SPEAKS_FOR_ITSELF = ("ArtifactError", "ModelConfigError")
"""Errors of conch_steps whose message names the file and the cure."""


def load_failures(log: Iterable[str], backend_file: BackendFile) -> list[str]:
    """One sentence a model that did not load, in the order Triton met them; empty when the log tells of none."""
    causes: dict[str, str] = {}
    others: list[str] = []
    for line in log:
        if found := _LOAD.search(line):
            why = _in_backend_terms(_unquoted(found["why"]), backend_file(found["model"], found["version"]))
            causes.setdefault(found["model"], f"model `{found['model']}`: {why}")
        elif found := _CONFIG.search(line):
            causes.setdefault(found["model"], f"model `{found['model']}`: {_plain(_unquoted(found['why']))}")
        elif (found := _OTHER.search(line)) and not any(harmless in line for harmless in _HARMLESS):
            others.append(_plain(_unquoted(found["why"])))
    return list(causes.values()) or others[:1]


def unfinished(log: Iterable[str]) -> dict[str, str]:
    """Models whose load the log begins and does not end, with their versions."""
    models: dict[str, str] = {}
    for line in log:
        if found := _BEGUN.search(line):
            models[found["model"]] = found["version"]
        elif found := _LOADED.search(line) or _LOAD.search(line):
            models.pop(found["model"], None)
    return models


def dead(log: Iterable[str]) -> dict[str, str]:
    """Models whose Python process died so early that Triton saw it, with their versions. Triton tells others of it only
    when all other models are loaded."""
    return {found["model"]: found["version"] for line in log if (found := _DEAD.search(line))}


def how_it_ended(code: int) -> str:
    """An exit code as Popen gives it, in words."""
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def _in_backend_terms(why: str, file: Path | None) -> str:
    """What a Python backend raised while it loaded: without the traceback, but with the place of the fault."""
    frames = _FRAMES.search(why)
    what = _plain(why[: frames.start()] if frames else why)
    raised = _EXCEPTION.match(what)
    if raised is None:
        return what
    if raised["kind"] in _SPEAKS_FOR_ITSELF:
        return raised["what"]
    if raised["kind"] == PermissionError.__name__:
        return f"{_ERROR_NUMBER.sub('', raised['what'])} (let this user read it)"
    said = f"{raised['kind']}: {raised['what']}"
    # The first frame is the innermost, and those of Python's own importlib begin with "<frozen".
    places = _FRAME.finditer(frames["frames"]) if frames else ()
    place = next((each for each in places if not each["file"].startswith(_OWN_LIBRARY)), None)
    if place is not None:
        return f"{said} (at {place['file']}, line {place['line']}: mend the code there)"
    if file is None:
        return said
    syntax = _SYNTAX.search(said)
    line = f", line {syntax['line']}" if syntax else ""
    return f"{_SYNTAX.sub('', said)} (in {file}{line}: mend the code there)"


def _unquoted(why: str) -> str:
    return why.strip().strip('"').replace("\\n", " ").replace('\\"', '"')


def _plain(why: str) -> str:
    return _SOURCE_NOTE.sub("", why).strip()
