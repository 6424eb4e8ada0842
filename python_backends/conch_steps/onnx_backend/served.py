"""A loaded model: everything between a configuration with its version folder and answered batches.

A batch never fails as a whole. Where a call of several requests fails, each is run alone, so that only the
request at fault gets an error. An answer with a wrong number of rows is a fault of the graph, not of a
request, and fails them all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from conch_steps.errors import InvalidInput, StepError
from conch_steps.manifest import verify_manifest
from conch_steps.onnx_backend.batch import BatchLayout, Tensors, Unit, gather, scatter_back
from conch_steps.onnx_backend.config import BackendConfig, Json
from conch_steps.onnx_backend.model_file import model_file
from conch_steps.onnx_backend.rows import RowRule, join
from conch_steps.onnx_backend.runs import like_length_runs
from conch_steps.onnx_backend.session import Session
from conch_steps.onnx_backend.settings import SessionSettings
from conch_steps.onnx_backend.validate import validate

Answer = Tensors | StepError


class OnnxModel:
    """One ONNX model, ready to answer batches of requests."""

    def __init__(self, session: Session, layout: BatchLayout, row_rule: RowRule | None) -> None:
        self._session = session
        self._layout = layout
        self._row_rule = row_rule

    @classmethod
    def load(cls, config: Json, version_folder: Path) -> OnnxModel:
        """Load what `config`, the JSON form of a complete ModelConfig, means in this version folder.

        Raises ModelConfigError or ArtifactError with the reason why the model must not be served.
        """
        session = open_session(config, version_folder)
        read = BackendConfig.from_json(config)
        validate(read, session.signature)
        return cls(session, BatchLayout.of(read, session.signature), RowRule.from_config(read))

    def execute(self, requests: Sequence[Tensors]) -> list[Answer]:
        """Answer each request, in order, with all outputs of the configuration or the error that is its own.

        Requests are inputs by name, batch dimension first if the model batches; texts are object arrays of
        bytes.
        """
        answers: dict[int, Answer] = {}
        units: list[Unit] = []
        for owner, inputs in enumerate(requests):
            try:
                units += self._units(owner, inputs)
            except InvalidInput as problem:
                answers[owner] = problem
        pieces: dict[int, list[Answer]] = defaultdict(list)
        for unit, answer in zip(units, self._answer(units), strict=True):
            pieces[unit.owner].append(answer)
        for owner, parts in pieces.items():
            answers[owner] = _whole(parts)
        return [answers[owner] for owner in range(len(requests))]

    def _units(self, owner: int, inputs: Tensors) -> list[Unit]:
        request = self._layout.whole(owner, {name: _texts(name, value) for name, value in inputs.items()})
        return self._row_rule.split(request) if self._row_rule else [request]

    def _answer(self, units: Sequence[Unit]) -> list[Answer]:
        answers: dict[int, Answer] = {}
        for run in self._runs(units):
            answers.update(zip(run, self._answer_run([units[index] for index in run]), strict=True))
        return [answers[index] for index in range(len(units))]

    def _runs(self, units: Sequence[Unit]) -> list[list[int]]:
        layout = self._layout
        if not layout.batching or layout.scalar_inputs:
            return [[index] for index in range(len(units))]
        groups: dict[object, list[int]] = defaultdict(list)
        for index, unit in enumerate(units):
            groups[tuple(unit.inputs[name].shape[1:] for name in layout.open_shapes)].append(index)
        if not layout.ragged:
            return list(groups.values())
        return [
            [group[index] for index in run]
            for group in groups.values()
            for run in like_length_runs([units[i].length for i in group], [units[i].rows for i in group])
        ]

    def _answer_run(self, units: Sequence[Unit]) -> Sequence[Answer]:
        try:
            outputs = self._session.run(self._layout.outputs, gather(self._layout, units))
        except StepError as problem:
            owners = list(dict.fromkeys(unit.owner for unit in units))
            if len(owners) == 1:
                return [problem] * len(units)
            alone = {owner: iter(self._answer_run(_of(owner, units))) for owner in owners}
            return [next(alone[unit.owner]) for unit in units]
        try:
            return scatter_back(self._layout, units, outputs)
        except StepError as problem:
            return [problem] * len(units)


def open_session(config: Json, version_folder: Path) -> Session:
    """Open the model as it will be served. This is all that auto-complete needs of it.

    Raises ModelConfigError or ArtifactError.
    """
    verify_manifest(version_folder)
    read = BackendConfig.from_json(config)
    return Session(read.model, model_file(config, version_folder), SessionSettings.from_config(read))


def _of(owner: int, units: Sequence[Unit]) -> list[Unit]:
    return [unit for unit in units if unit.owner == owner]


def _whole(parts: Sequence[Answer]) -> Answer:
    tensors: list[Tensors] = []
    for part in parts:
        if isinstance(part, StepError):
            return part
        tensors.append(part)
    return join(tensors)


def _texts(name: str, value: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Triton gives texts as bytes, onnxruntime for Python takes them as str only."""
    if value.dtype != np.object_:
        return value
    try:
        texts = [element.decode() for element in value.reshape(-1)]
    except UnicodeDecodeError as exc:
        raise InvalidInput(f"input '{name}' holds bytes that are not UTF-8: {exc.reason} at byte {exc.start}") from exc
    return np.array(texts, dtype=np.object_).reshape(value.shape)
