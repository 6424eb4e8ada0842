"""What is compared with, as it is written on the command line."""

from __future__ import annotations

import pytest

from conch_tools.errors import SettingsError
from conch_tools.parity.with_another import Other


def test_another_may_have_a_version_and_an_address() -> None:
    assert Other.written(None, None, None) == Other()
    assert Other.written("digits:2", None, None) == Other("digits", "2")
    assert Other.written("digits:2@there:8001", None, None) == Other("digits", "2", url="there:8001")
    assert Other.written("digits", None, "there:8001") == Other("digits", url="there:8001")
    assert Other.written(None, "fast", None) == Other(profile="fast")
    with pytest.raises(SettingsError, match="a model is written NAME, NAME:VERSION or NAME@HOST:PORT"):
        Other.written("digits@", None, None)


def test_the_report_calls_it_what_it_is() -> None:
    assert Other("digits", "2", url="there:8001").describe("digits") == "digits:2 at there:8001"
    assert Other(version="2").describe("digits") == "digits:2"
