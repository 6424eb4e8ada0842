"""Triton's log lines, read for one purpose: saying in a sentence why models did not load.

Triton reports a failed load several times over, at increasing length. The first report of each model is the cause; what
follows ("unable to load", the table at the end) repeats it, and failures of ensembles follow from those of their steps.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_LOAD = re.compile(r"failed to load '(?P<model>[^']+)' version (?P<version>\d+): (?P<why>.+)")
_CONFIG = re.compile(r"Poll failed for model directory '(?P<model>[^']+)': (?P<why>.+)")
_OTHER = re.compile(r"^E\d{4} [^\]]*\] (?P<why>.+)")
_SOURCE_NOTE = re.compile(r"\s+At:\s.*$|\s*\(?/(?:tmp|opt|workspace)/\S+?\.cc:\d+\)?")


def load_failures(log: Iterable[str]) -> list[str]:
    """One sentence a model that did not load, in the order Triton met them; empty when the log tells of none."""
    causes: dict[str, str] = {}
    others: list[str] = []
    for line in log:
        if found := _LOAD.search(line) or _CONFIG.search(line):
            causes.setdefault(found["model"], f"model `{found['model']}`: {_plain(found['why'])}")
        elif found := _OTHER.search(line):
            others.append(_plain(found["why"]))
    return list(causes.values()) or others[:1]


def _plain(why: str) -> str:
    return _SOURCE_NOTE.sub("", why.strip().strip('"').replace("\\n", " ")).strip()
