"""A feature store gives online what it gives offline, from wherever its folder lies."""

from __future__ import annotations

import shutil
import sqlite3
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from conch_steps.errors import ArtifactError, ModelConfigError, StepError, StoreFailed
from conch_steps.feature_store import StoredFeatures
from conch_steps.features import ENTITY
from conch_steps.manifest import sha256_of
from conch_tools.build.feature_repo import MEASURED, TIMESTAMP, write_feature_repo

ROWS: Mapping[str, Mapping[str, float | str]] = {
    "anna": {"weight": 61.3, "height": 1 / 3, "colour": "blue"},
    "ben": {"weight": 80.1, "height": 1.9, "colour": "red"},
    "chloé 東": {"weight": 0.0, "height": 1e-9, "colour": "red"},
}


@pytest.fixture(autouse=True)
def feast_may_warn() -> Iterator[None]:
    """Feast and the libraries below it warn of themselves."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made in one place and moved to another, as a build does."""
    made = tmp_path_factory.mktemp("staging") / "1"
    made.mkdir()
    write_feature_repo(made, "people", "body", ROWS, ["colour"])
    return Path(shutil.move(made, tmp_path_factory.mktemp("repository")))


def test_online_values_are_the_offline_ones_and_those_that_were_given(repository: Path) -> None:
    import pandas as pd
    from feast import FeatureStore

    online = StoredFeatures(repository, "body")(list(ROWS))
    asked = pd.DataFrame({ENTITY: list(ROWS), TIMESTAMP: MEASURED})
    names = ["weight", "height", "colour"]
    history = FeatureStore(repo_path=str(repository)).get_historical_features(
        entity_df=asked, features=[f"body:{name}" for name in names]
    )
    offline = history.to_df().set_index(ENTITY)[names].to_dict(orient="index")
    for entity, values in zip(ROWS, online, strict=True):
        assert values == offline[entity]
        assert {
            name: np.float32(value) if name != "colour" else value for name, value in ROWS[entity].items()
        } == values


def test_of_an_entity_that_is_not_stored_there_are_no_values(repository: Path) -> None:
    assert StoredFeatures(repository, "body")(["nobody", "ben"])[0] == {}
    assert StoredFeatures(repository, "body")(["nobody", "ben"])[1]["colour"] == "red"


def test_reading_changes_no_file(repository: Path) -> None:
    before = {path.name: sha256_of(path) for path in repository.iterdir()}
    StoredFeatures(repository, "body")(["anna"])
    assert {path.name: sha256_of(path) for path in repository.iterdir()} == before


def test_a_view_that_is_not_there_is_refused_by_name(repository: Path) -> None:
    with pytest.raises(ModelConfigError, match="has no feature view `mind`"):
        StoredFeatures(repository, "mind")


def test_a_repository_that_is_not_there_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"feature_store\.yaml is missing: run `conch build`"):
        StoredFeatures(tmp_path, "body")


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("online.db", b"this is no database at all, but long enough to be taken for one" * 20, StoreFailed),
        ("online.db", b"", StoreFailed),
        ("registry.db", b"\xff" * 100, ArtifactError),
        ("feature_store.yaml", b"provider: local", ArtifactError),
    ],
    ids=["no database", "an empty database", "no registry", "no settings"],
)
def test_a_damaged_repository_is_found_before_it_is_served(
    repository: Path, tmp_path: Path, name: str, content: bytes, kind: type[StepError]
) -> None:
    damaged = shutil.copytree(repository, tmp_path / "1")
    (damaged / name).write_bytes(content)
    with pytest.raises(kind, match=str(damaged)):
        StoredFeatures(damaged, "body")


def test_a_locked_store_fails_the_lookup_and_works_again_afterwards(repository: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(repository, tmp_path / "1")
    stored = StoredFeatures(copy, "body")
    with sqlite3.connect(copy / "online.db", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreFailed, match=r"its online store cannot be read \(database is locked"):
            stored(["anna"])
        other.execute("ROLLBACK")
    assert stored(["anna"])[0]["colour"] == "blue"
    other.close()
