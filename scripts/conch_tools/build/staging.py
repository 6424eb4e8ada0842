"""The staging repository of one build: the configs as they are, the artifacts as they are being made.

It has the layout of a model repository, so the server can serve it before anything reaches the real one; promotion.py
moves a pipeline's version folders over. What is built is one release, whose number the folders of all its steps have; a
step without files of its own has one version for all releases.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from conch_steps.errors import ArtifactError
from conch_steps.manifest import MANIFEST_NAME, listed_files, sha256_of, verify_manifest
from conch_tools.build.promotion import promote
from conch_tools.build.sources import describe_source
from conch_tools.files import now
from conch_tools.pipelines import FIRST_VERSION, Pipeline, load_pipeline, newest_version
from conch_tools.releases.configs import as_written
from conch_tools.releases.folders import CONFIG, freeze, releases_of, serve_side_by_side, sha256_of_text

TOOLS = (
    "torch",
    "transformers",
    "sentence-transformers",
    "onnx",
    "onnxruntime",
    "tokenizers",
    "numpy",
    "scikit-learn",
    "skl2onnx",
)


class Staged:
    """One pipeline's part of the staging repository."""

    def __init__(self, pipeline: Pipeline, repository: Path, number: str = FIRST_VERSION) -> None:
        self.pipeline = pipeline
        self.repository = repository
        self.number = number
        """Of the release, as its folders are named."""
        self.origin: Mapping[str, str] = {}
        """What a builder found of the source that pipeline.toml does not say, for the manifests."""
        self.notes: Sequence[str] = ()
        """What somebody who builds should know."""
        self.made: dict[str, str] = {}
        """How the variants of the graph were made, by file, for the manifest of the model step."""

    @classmethod
    def fresh(cls, pipeline: Pipeline, repository: Path, number: str = FIRST_VERSION) -> Staged:
        """A staged pipeline with its configs and empty version folders; what an earlier build left is dropped."""
        staged = cls(pipeline, repository, number)
        for model in (pipeline.name, *pipeline.models):
            target = repository / model
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(
                pipeline.folder.parent / model,
                target,
                ignore=lambda folder, names: [name for name in names if name.isdigit()],
            )
            config = target / CONFIG
            config.write_text(as_written(config.read_text(encoding="utf-8")), encoding="utf-8")
            (target / number).mkdir()
        return staged

    def version(self, model: str) -> Path:
        """The version folder a model's artifacts go to."""
        return self.repository / model / self.number

    def write_labels(self, model: str, labels: Sequence[str]) -> None:
        """Write labels.txt, one class a line in the order of the logits."""
        (self.version(model) / "labels.txt").write_text("\n".join(labels) + "\n", encoding="utf-8")

    def write_manifests(self, quality: Mapping[str, Any], fingerprint: str) -> None:
        """List every artifact with its hash and origin; the pipeline's own manifest carries quality and fingerprint."""
        built = now()
        origin = {
            "source": {**describe_source(self.pipeline), **self.origin},
            "tools": _tool_versions(),
            "built": built,
        }
        for model in self.pipeline.models:
            folder = self.version(model)
            _write_json(folder / MANIFEST_NAME, {"model": model, "files": self._made_files(model), **origin})
        folder = self.version(self.pipeline.name)
        config = (self.repository / self.pipeline.name / CONFIG).read_text(encoding="utf-8")
        freeze(self.pipeline, folder, config)
        manifest = {
            "pipeline": self.pipeline.name,
            "version": int(self.number),
            "files": _listed(folder),
            "config": sha256_of_text(config),
            "steps": {model: self._step(model) for model in self.pipeline.models},
            "fingerprint": fingerprint,
            "quality": quality,
            **origin,
        }
        _write_json(folder / MANIFEST_NAME, manifest)

    def _step(self, model: str) -> dict[str, Any]:
        """What a release says of a step: its version, and what is to be there of it."""
        shared = self._shared(model)
        manifest = (shared or self.version(model)) / MANIFEST_NAME
        config = (self.repository / model / CONFIG).read_text(encoding="utf-8")
        return {
            "version": int(shared.name if shared else self.number),
            "manifest": sha256_of(manifest),
            "config": sha256_of_text(config),
        }

    def _shared(self, model: str) -> Path | None:
        """The version folder that other releases have of a step without files of its own; None of any other step."""
        kept = self.pipeline.folder.parent / model
        if any(_files(self.version(model))) or not (newest := kept / newest_version(kept)).is_dir():
            return None
        try:
            return None if listed_files(newest / MANIFEST_NAME) else newest
        except ArtifactError:
            return None

    def _made_files(self, model: str) -> dict[str, dict[str, Any]]:
        """The files of a step's version, and of variants of the graph how they were made."""
        files = _listed(self.version(model))
        if model == self.pipeline.step("model"):
            for file, making in self.made.items():
                files[file]["made"] = making
        return files

    def promote(self, repository: Path) -> None:
        """Move the version folders into the repository; where one cannot be moved, those that were there stay."""
        own = [model for model in self.pipeline.models if self._shared(model) is None]
        promote({model: self.version(model) for model in (*own, self.pipeline.name)}, repository)
        serve_side_by_side(self.pipeline)


def fingerprint_of(pipeline: Pipeline) -> str:
    """Hash of everything an artifact depends on: the pipeline's files and those it uses, our code, data and tools."""
    digest = hashlib.sha256()
    tools = Path(__file__).parents[1]
    ours = [*(tools / "build").rglob("*.py"), *(tools / "training").rglob("*")]
    configs = [pipeline.folder.parent / model / "config.pbtxt" for model in (pipeline.name, *pipeline.models)]
    for path in sorted({*ours, *configs, *pipeline.folder.glob("*")}):
        if path.is_file() and path.suffix != ".pyc":
            content = path.read_bytes()
            if path.name == CONFIG:
                # Which releases are served is no change of what is built.
                content = as_written(content.decode(errors="surrogateescape")).encode(errors="surrogateescape")
            digest.update(path.name.encode() + content)
    digest.update(json.dumps([_tool_versions(), describe_source(pipeline)], sort_keys=True).encode())
    for used in pipeline.uses:
        digest.update(fingerprint_of(load_pipeline(pipeline.folder.parent / used)).encode())
    return digest.hexdigest()


def is_current(pipeline: Pipeline, fingerprint: str) -> bool:
    """Whether the artifacts of the pipeline's newest release are all there and were made from what is there now."""
    releases = releases_of(pipeline)
    if not releases or releases[-1].folder.name != newest_version(pipeline.folder):
        return False
    newest = releases[-1]
    versions = [pipeline.folder.parent / step / str(version) for step, version in newest.steps.items()]
    if newest.steps.keys() != set(pipeline.models) or not all((each / MANIFEST_NAME).is_file() for each in versions):
        return False
    try:
        for version in (newest.folder, *versions):
            verify_manifest(version)
    except ArtifactError:
        return False
    return bool(newest.manifest.get("fingerprint") == fingerprint)


def _files(folder: Path) -> Iterator[Path]:
    """A version folder's files, but for its manifest."""
    return (path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST_NAME)


def _listed(folder: Path) -> dict[str, dict[str, Any]]:
    """The same, as the manifest records them."""
    return {
        path.relative_to(folder).as_posix(): {"sha256": sha256_of(path), "bytes": path.stat().st_size}
        for path in sorted(_files(folder))
    }


def _tool_versions() -> dict[str, str]:
    versions = {tool: importlib.metadata.version(tool) for tool in TOOLS}
    return {"python": platform.python_version(), **versions}


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
