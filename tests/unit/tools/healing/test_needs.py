"""What a pipeline needs, with what its steps call."""

from __future__ import annotations

from pathlib import Path

import pytest

from conch_tools.healing.needs import Needs
from conch_tools.pipelines import load_pipelines
from conch_tools.settings import Settings


@pytest.fixture
def needs() -> Needs:
    """Of `search`, whose steps call `embed`."""
    return Needs(load_pipelines(Path(Settings().repository), ["search"]))


def test_behind_a_pipeline_stand_the_ensembles_that_its_steps_call(needs: Needs) -> None:
    search = next(each for each in needs.pipelines if each.name == "search")
    assert needs.ensembles_of(search) == ["embed", "search"]


def test_a_model_is_needed_by_those_whose_steps_call_it(needs: Needs) -> None:
    assert [each.name for each in needs.needing("embed_model")] == [each.name for each in needs.pipelines]
    assert [each.name for each in needs.needing("search")] == ["search"]
