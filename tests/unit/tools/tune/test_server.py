"""The order of loading keeps the ensemble whole: it is never larger than its steps."""

from __future__ import annotations

import pytest

from conch_tools.tune.server import _in_safe_order

SMALL, LARGE = {"max_batch_size": 64}, {"max_batch_size": 128}


@pytest.mark.parametrize(
    ("loaded", "wanted", "order"),
    [(SMALL, LARGE, ["step", "pipe"]), (LARGE, SMALL, ["pipe", "step"]), (SMALL, SMALL, ["step", "pipe"])],
)
def test_the_ensemble_grows_last_and_shrinks_first(
    loaded: dict[str, int], wanted: dict[str, int], order: list[str]
) -> None:
    both = ["pipe", "step"]
    assert _in_safe_order(both, "pipe", dict.fromkeys(both, wanted), dict.fromkeys(both, loaded)) == order


def test_steps_alone_keep_their_order() -> None:
    assert _in_safe_order(["b", "a"], "pipe", {}, {}) == ["b", "a"]
