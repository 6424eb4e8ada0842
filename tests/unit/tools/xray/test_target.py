"""Models as they are named on the command line."""

import pytest

from conch_tools.errors import SettingsError
from conch_tools.xray.target import Target, target_of


@pytest.mark.parametrize(
    ("written", "target"),
    [
        ("embed", Target("embed", "", "here:1")),
        ("embed:2", Target("embed", "2", "here:1")),
        ("embed@there:8001", Target("embed", "", "there:8001")),
        ("embed:2@there:8001", Target("embed", "2", "there:8001")),
        ("a:b", Target("a:b", "", "here:1")),
        ("a@b@[::1]:8001", Target("a@b", "", "[::1]:8001")),
    ],
)
def test_a_model_may_have_a_version_and_a_server(written: str, target: Target) -> None:
    assert target_of(written, "here:1") == target


@pytest.mark.parametrize("written", ["", "@there:8001", "embed@", ":2"])
def test_a_name_or_a_server_that_is_left_out_is_told(written: str) -> None:
    with pytest.raises(SettingsError, match="a model is written NAME, NAME:VERSION or NAME@HOST:PORT"):
        target_of(written, "here:1")
