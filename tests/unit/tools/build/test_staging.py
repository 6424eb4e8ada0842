"""Staging and promotion: what is current, what is replaced, and what never reaches the repository."""

import importlib.metadata
import json
import shutil
from pathlib import Path

import pytest

from conch_steps.manifest import verify_manifest
from conch_tools.build.staging import Staged, fingerprint_of, is_current
from conch_tools.pipelines import Pipeline, load_pipeline, load_pipelines, models_of, version_numbers
from conch_tools.releases.folders import releases_of

PIPELINE = """
task = "image-classification"
description = "Shapes."
[source]
training = "digits"
[[samples]]
input = { image = "one.png" }
expect = { label = "one" }
"""


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    repository = tmp_path / "repository"
    for model in ("shapes", "shapes_decode", "shapes_model"):
        (repository / model).mkdir(parents=True)
        (repository / model / "config.pbtxt").write_text(f'name: "{model}"\n', encoding="utf-8")
    (repository / "shapes" / "pipeline.toml").write_text(PIPELINE, encoding="utf-8")
    return load_pipeline(repository / "shapes")


def stage(pipeline: Pipeline, tmp_path: Path, content: str = "weights") -> Staged:
    staged = Staged.fresh(pipeline, tmp_path / "staging")
    (staged.version("shapes_model") / "model.onnx").write_text(content, encoding="utf-8")
    staged.write_manifests({"accuracy": 0.5}, fingerprint_of(pipeline))
    return staged


def test_a_promoted_build_is_current_and_verifies(pipeline: Pipeline, tmp_path: Path) -> None:
    repository = pipeline.folder.parent
    assert not is_current(pipeline, fingerprint_of(pipeline))
    stage(pipeline, tmp_path).promote(repository)
    assert is_current(pipeline, fingerprint_of(pipeline))
    verify_manifest(repository / "shapes_model" / "1")


def test_the_manifest_tells_origin_tools_and_quality(pipeline: Pipeline, tmp_path: Path) -> None:
    staged = stage(pipeline, tmp_path)
    manifest = json.loads((staged.version("shapes") / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["quality"] == {"accuracy": 0.5}
    assert manifest["source"] == {"training": "digits"}
    assert manifest["tools"]["torch"] == importlib.metadata.version("torch")


def test_a_change_of_pipeline_or_config_makes_a_build_stale(pipeline: Pipeline, tmp_path: Path) -> None:
    stage(pipeline, tmp_path).promote(pipeline.folder.parent)
    config = pipeline.folder.parent / "shapes_model" / "config.pbtxt"
    config.write_text(config.read_text(encoding="utf-8") + "max_batch_size: 4\n", encoding="utf-8")
    assert not is_current(pipeline, fingerprint_of(pipeline))


@pytest.mark.parametrize("damage", ["cut", "changed", "missing", "manifest"])
def test_a_damaged_artifact_makes_a_build_stale(pipeline: Pipeline, tmp_path: Path, damage: str) -> None:
    stage(pipeline, tmp_path).promote(pipeline.folder.parent)
    version = pipeline.folder.parent / "shapes_model" / "1"
    if damage == "cut":
        (version / "model.onnx").write_text("wei", encoding="utf-8")
    elif damage == "changed":
        (version / "model.onnx").write_text("WEIGHTS", encoding="utf-8")
    elif damage == "missing":
        (version / "model.onnx").unlink()
    else:
        (version / "manifest.json").write_text("{", encoding="utf-8")
    assert not is_current(pipeline, fingerprint_of(pipeline))


def test_promotion_replaces_an_older_build_and_leaves_nothing_of_it(pipeline: Pipeline, tmp_path: Path) -> None:
    repository = pipeline.folder.parent
    first = stage(pipeline, tmp_path, "old")
    (first.version("shapes_model") / "extra.bin").write_text("x", encoding="utf-8")
    first.promote(repository)
    stage(pipeline, tmp_path, "new").promote(repository)
    version = repository / "shapes_model" / "1"
    assert (version / "model.onnx").read_text(encoding="utf-8") == "new"
    assert sorted(path.name for path in version.iterdir()) == ["manifest.json", "model.onnx"]
    assert sorted(path.name for path in (repository / "shapes_model").iterdir()) == ["1", "config.pbtxt"]


def test_a_promotion_that_fails_leaves_the_older_build(pipeline: Pipeline, tmp_path: Path) -> None:
    repository = pipeline.folder.parent
    stage(pipeline, tmp_path, "old").promote(repository)
    second = stage(pipeline, tmp_path, "new")
    shutil.rmtree(second.version("shapes_model"))
    with pytest.raises(FileNotFoundError):
        second.promote(repository)
    assert (repository / "shapes_model" / "1" / "model.onnx").read_text(encoding="utf-8") == "old"
    assert sorted(path.name for path in (repository / "shapes_model").iterdir()) == ["1", "config.pbtxt"]


def test_staging_anew_drops_what_an_interrupted_build_left(pipeline: Pipeline, tmp_path: Path) -> None:
    stage(pipeline, tmp_path)
    again = Staged.fresh(pipeline, tmp_path / "staging")
    assert list(again.version("shapes_model").iterdir()) == []


def release(pipeline: Pipeline, tmp_path: Path, content: str, number: str) -> None:
    staged = Staged.fresh(pipeline, tmp_path / "staging", number)
    (staged.version("shapes_model") / "model.onnx").write_text(content, encoding="utf-8")
    staged.write_manifests({"accuracy": 0.5}, fingerprint_of(pipeline))
    staged.promote(pipeline.folder.parent)


def test_a_second_release_leaves_the_first_as_it_is_and_both_get_a_name(pipeline: Pipeline, tmp_path: Path) -> None:
    repository = pipeline.folder.parent
    release(pipeline, tmp_path, "first", "1")
    assert not (repository / "shapes-v1").exists()
    (pipeline.folder / "pipeline.toml").write_text(PIPELINE.replace("Shapes.", "Forms."), encoding="utf-8")
    release(pipeline, tmp_path, "second", "2")
    assert is_current(pipeline, fingerprint_of(pipeline))
    assert [(repository / "shapes_model" / number / "model.onnx").read_text() for number in "12"] == ["first", "second"]
    one, two = load_pipeline(repository / "shapes-v1"), load_pipeline(repository / "shapes-v2")
    assert (one.description, two.description) == ("Shapes.", "Forms.")
    assert one.models == two.models == pipeline.models == ["shapes_decode", "shapes_model"]
    served = load_pipelines(repository, releases=True)
    assert [each.name for each in served] == ["shapes", "shapes-v1", "shapes-v2"]
    assert models_of(served) == ["shapes", "shapes_decode", "shapes_model", "shapes-v1", "shapes-v2"]
    assert [each.name for each in load_pipelines(repository)] == ["shapes"]


def test_a_step_without_files_has_one_version_for_all_releases(pipeline: Pipeline, tmp_path: Path) -> None:
    repository = pipeline.folder.parent
    for number in "123":
        release(pipeline, tmp_path, number, number)
    assert version_numbers(repository / "shapes_decode") == [1]
    assert version_numbers(repository / "shapes_model") == [1, 2, 3]
    assert [each.steps for each in releases_of(pipeline)] == [
        {"shapes_decode": 1, "shapes_model": number} for number in (1, 2, 3)
    ]
    assert "version_policy" not in (repository / "shapes_decode" / "config.pbtxt").read_text()
