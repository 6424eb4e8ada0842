"""The lines of `conch versions`: what was built, how good it is, and what it is served as."""

from __future__ import annotations

from typing import Any

from conch_tools.releases.listing import in_lines

BUILT: dict[str, Any] = {
    "pipeline": "mood",
    "version": 2,
    "latest": True,
    "pinned": False,
    "served_as": ["mood", "mood-v2"],
    "built": "2026-11-28T01:00:00+00:00",
    "source": "package stars 1.0",
    "quality": {"worst_difference": 2.5e-07, "accuracy": 0.9325},
    "bytes": 90_400_000,
}


def test_a_release_is_a_line() -> None:
    assert in_lines([BUILT]) == [
        "mood 2: built 2026-11-28T01:00:00+00:00; package stars 1.0; worst_difference 2.5e-07, accuracy 0.9325; "
        "90.4 MB; served as mood, mood-v2; latest"
    ]


def test_the_variants_of_a_release_are_named() -> None:
    varied = {**BUILT, "quality": {"accuracy": 0.9, "variants": {"int8": {"cosine": 0.97}}}, "served_as": []}
    (line,) = in_lines([varied])
    assert "; accuracy 0.9; variant int8; 90.4 MB; not served; latest" in line
