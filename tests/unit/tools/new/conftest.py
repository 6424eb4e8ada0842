"""What the tests of `conch new` share: a repository with a pipeline in it, and no process beside the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from conch_tools.new import run
from conch_tools.settings import Settings
from workers_here import one_after_the_other


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of a repository that has the pipeline `reviews` with one step, and a model of nobody's."""
    repository = tmp_path / "repository"
    for model in ("reviews", "reviews_model", "topics_model"):
        (repository / model).mkdir(parents=True)
    (repository / "reviews" / "pipeline.toml").touch()
    return Settings(repository=repository, state=tmp_path / "state")


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a worker process would be asked is done here: importing torch in another takes longer than the test."""
    monkeypatch.setattr(run, "in_workers", one_after_the_other)
