"""The model is the file that the C++ backend would take."""

from __future__ import annotations

from pathlib import Path

import pytest

from conch_steps.errors import ArtifactError
from conch_steps.onnx_backend.model_file import model_file


def test_the_file_is_model_onnx_unless_named(tmp_path: Path) -> None:
    for name in ("model.onnx", "small.onnx"):
        (tmp_path / name).touch()
    assert model_file({"default_model_filename": ""}, tmp_path).name == "model.onnx"
    assert model_file({"default_model_filename": "small.onnx"}, tmp_path).name == "small.onnx"


def test_a_folder_of_that_name_holds_model_onnx_with_its_external_data(tmp_path: Path) -> None:
    folder = tmp_path / "model.onnx"
    folder.mkdir()
    (folder / "model.onnx").touch()
    assert model_file({}, tmp_path) == folder / "model.onnx"


def test_files_chosen_by_gpu_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    (tmp_path / "hopper.onnx").touch()
    assert model_file({"cc_model_filenames": {"9.0": "hopper.onnx"}}, tmp_path).name == "model.onnx"


def test_a_missing_file_is_named_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"'mini' has no .*/model\.onnx: build it with `conch build`"):
        model_file({"name": "mini"}, tmp_path)
