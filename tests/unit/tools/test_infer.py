"""What is written on the command line, as the tensors of requests."""

from pathlib import Path
from typing import Any

import pytest

from conch_client import TensorMetadata
from conch_tools.errors import SettingsError
from conch_tools.infer import requests_of

TEXT = TensorMetadata("text", "BYTES", (-1, 1))
LABELS = TensorMetadata("labels", "BYTES", (-1, -1))
HISTORY = TensorMetadata("history", "FP32", (-1, -1))
HORIZON = TensorMetadata("horizon", "INT32", (-1, 1))


def requests(arguments: list[str], *tensors: TensorMetadata) -> list[Any]:
    return [inputs for _, inputs in requests_of("p", {each.name: each for each in tensors}, arguments)]


def test_each_value_for_a_model_of_one_tensor_is_a_request() -> None:
    assert requests(["good", "[bad]"], TEXT) == [{"text": "good"}, {"text": "[bad]"}]


def test_named_values_make_one_request_together() -> None:
    assert requests(["text=a=b", 'labels=["x", "y"]'], TEXT, LABELS) == [{"text": "a=b", "labels": ["x", "y"]}]
    assert requests(["history=[1, 2.5]", "horizon=3"], HISTORY, HORIZON) == [{"history": [1, 2.5], "horizon": 3}]


def test_a_file_stands_for_its_content(tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("naïve\n", encoding="utf-8")
    assert requests([f"@{tmp_path / 'long.txt'}"], TEXT) == [{"text": "naïve\n"}]
    with pytest.raises(SettingsError, match=r"gone\.txt cannot be read: No such file"):
        requests([f"@{tmp_path / 'gone.txt'}"], TEXT)


def test_a_file_that_is_no_text_goes_to_a_tensor_of_one_value_as_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "seven.png").write_bytes(b"\x89PNG")
    image = TensorMetadata("image", "BYTES", (-1, 1))
    assert requests([f"@{tmp_path / 'seven.png'}"], image) == [{"image": b"\x89PNG"}]
    with pytest.raises(SettingsError, match=r"seven\.png cannot be read as text: it is not UTF-8"):
        requests([f"@{tmp_path / 'seven.png'}"], LABELS)


def test_what_is_nested_too_deeply_for_json_is_a_text() -> None:
    assert requests(["[" * 100_000], HISTORY) == [{"history": "[" * 100_000}]


def test_several_tensors_need_their_names() -> None:
    with pytest.raises(SettingsError, match=r"takes 2 inputs, name each of them: text=\.\.\. labels=\.\.\."):
        requests(["good"], TEXT, LABELS)
