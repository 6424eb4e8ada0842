"""The models of a repository by their names, each loaded when it is first asked for.

It stands for the server that steps call and that ensembles get their steps from.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from conch_tools.step_kit.ensemble import Ensemble
from conch_tools.step_kit.model_folder import ModelFolder, latest_version, read_config
from conch_tools.step_kit.step import Step


class StepRepository(Mapping[str, Step | Ensemble]):
    """`options` are those of `load_step`. Use it in a `with`, or `close` it."""

    def __init__(self, folder: Path | str, backends: Path | str | None = None, **options: Any) -> None:
        self._folder = Path(folder).resolve()
        self._backends = None if backends is None else Path(backends)
        self._options = options
        self._loaded: dict[str, Step | Ensemble] = {}
        self._lock = threading.RLock()

    def __enter__(self) -> StepRepository:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getitem__(self, name: str) -> Step | Ensemble:
        """Raises KeyError when there is none, StepNotLoaded when it does not load."""
        if "/" in name or not (self._folder / name / "config.pbtxt").is_file():
            raise KeyError(name)
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = self._load(self._folder / name)
            return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return (file.parent.name for file in sorted(self._folder.glob("*/config.pbtxt")))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def close(self) -> None:
        """Of every step, in the order in which they were loaded. Raises what a `finalize` raises, at the end."""
        with contextlib.ExitStack() as closing:
            for model in reversed(self._loaded.values()):
                closing.callback(model.close)
            self._loaded.clear()

    def _load(self, folder: Path) -> Step | Ensemble:
        config = read_config(folder)
        if "ensemble_scheduling" in config:
            return Ensemble(config, latest_version(folder), self)
        return Step(ModelFolder.read(folder, self._backends, None), self, **self._options)
