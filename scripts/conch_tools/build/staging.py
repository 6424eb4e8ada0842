"""The staging repository of one build: the configs as they are, the artifacts as they are being made.

It has the layout of a model repository, so the server can serve it before anything reaches the real one; promotion.py
moves a pipeline's version folders over.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from conch_steps.errors import ArtifactError
from conch_steps.manifest import MANIFEST_NAME, sha256_of, verify_manifest
from conch_tools.build.promotion import promote
from conch_tools.build.sources import describe_source
from conch_tools.files import now
from conch_tools.pipelines import FIRST_VERSION, Pipeline, load_pipeline

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

    def __init__(self, pipeline: Pipeline, repository: Path) -> None:
        self.pipeline = pipeline
        self.repository = repository
        self.origin: Mapping[str, str] = {}
        """What a builder found of the source that pipeline.toml does not say, for the manifests."""
        self.notes: Sequence[str] = ()
        """What somebody who builds should know."""

    @classmethod
    def fresh(cls, pipeline: Pipeline, repository: Path) -> Staged:
        """A staged pipeline with its configs and empty version folders; what an earlier build left is dropped."""
        staged = cls(pipeline, repository)
        for model in (pipeline.name, *pipeline.models):
            target = repository / model
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(
                pipeline.folder.parent / model,
                target,
                ignore=lambda folder, names: [name for name in names if name.isdigit()],
            )
            (target / FIRST_VERSION).mkdir()
        return staged

    def version(self, model: str) -> Path:
        """The version folder a model's artifacts go to."""
        return self.repository / model / FIRST_VERSION

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
            files = {
                path.name: {"sha256": sha256_of(path), "bytes": path.stat().st_size}
                for path in sorted(folder.iterdir())
                if path.name != MANIFEST_NAME
            }
            _write_json(folder / MANIFEST_NAME, {"model": model, "files": files, **origin})
        manifest = {
            "pipeline": self.pipeline.name,
            "files": {},
            "fingerprint": fingerprint,
            "quality": quality,
            **origin,
        }
        _write_json(self.version(self.pipeline.name) / MANIFEST_NAME, manifest)

    def promote(self, repository: Path) -> None:
        """Move the version folders into the repository; where one cannot be moved, those that were there stay."""
        promote({model: self.version(model) for model in (*self.pipeline.models, self.pipeline.name)}, repository)


def fingerprint_of(pipeline: Pipeline) -> str:
    """Hash of everything an artifact depends on: the pipeline's files and those it uses, our code, data and tools."""
    digest = hashlib.sha256()
    tools = Path(__file__).parents[1]
    ours = [*(tools / "build").rglob("*.py"), *(tools / "training").rglob("*")]
    configs = [pipeline.folder.parent / model / "config.pbtxt" for model in (pipeline.name, *pipeline.models)]
    for path in sorted({*ours, *configs, *pipeline.folder.glob("*")}):
        if path.is_file() and path.suffix != ".pyc":
            digest.update(path.name.encode() + path.read_bytes())
    digest.update(json.dumps([_tool_versions(), describe_source(pipeline)], sort_keys=True).encode())
    for used in pipeline.uses:
        digest.update(fingerprint_of(load_pipeline(pipeline.folder.parent / used)).encode())
    return digest.hexdigest()


def is_current(pipeline: Pipeline, fingerprint: str) -> bool:
    """Whether the pipeline's artifacts are all there and were made from what is there now."""
    versions = [pipeline.folder.parent / model / FIRST_VERSION for model in (pipeline.name, *pipeline.models)]
    if not all((version / MANIFEST_NAME).is_file() for version in versions):
        return False
    try:
        for version in versions:
            verify_manifest(version)
        return bool(json.loads((versions[0] / MANIFEST_NAME).read_bytes())["fingerprint"] == fingerprint)
    except (ArtifactError, KeyError):
        return False


def _tool_versions() -> dict[str, str]:
    versions = {tool: importlib.metadata.version(tool) for tool in TOOLS}
    return {"python": platform.python_version(), **versions}


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
