"""Stored values of an entity, from Feast's online store in the version folder.

Feast brings pandas, pyarrow and dask along, which double the memory of a step's process and take seconds to import, so
only a step that is told to look values up imports it, and only when it is made. The store is read and never written.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from conch_steps.errors import ArtifactError, ModelConfigError, StoreFailed
from conch_steps.features import ENTITY, SCHEMA_FILE, Values, schema_of
from conch_steps.parameters import Declaration, named
from conch_steps.serving import StepModel

REPOSITORY_FILE = "feature_store.yaml"
LOOKUP = named("lookup", "the name of a feature view", optional=True)


def require_repository(folder: Path) -> None:
    """Raise ArtifactError unless the folder is a Feast repository."""
    if not (folder / REPOSITORY_FILE).is_file():
        raise ArtifactError(f"{folder / REPOSITORY_FILE} is missing: run `conch build`")


def _required_repository(model: StepModel) -> None:
    if LOOKUP.given(model) is not None:
        require_repository(model.version_folder)


DECLARED = Declaration(
    (LOOKUP,),
    {SCHEMA_FILE: schema_of, REPOSITORY_FILE: _required_repository},
    depends_on=("the feature store, which changes",),
)


@contextmanager
def _quick_import() -> Iterator[None]:
    """Import Feast without the type checks that it compiles into its own classes, and without warnings.

    typeguard writes each of those classes anew when it is imported, which is half of the 3.5 s until the first lookup;
    Python leaves it out when it runs with -O. Pydantic finds fault with the same classes, which nobody here can mend.
    """
    from unittest.mock import patch

    with patch("typeguard.typechecked", new=lambda target: target), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class StoredFeatures:
    """Looks up one feature view of a Feast repository, whose entity is `entity_id`."""

    def __init__(self, repository: Path, view: str) -> None:
        """Raises ArtifactError or StoreFailed when the repository is absent or damaged, ModelConfigError when it has
        no such view."""
        require_repository(repository)
        with _quick_import():
            from feast import FeatureStore
            from feast.errors import FeastObjectNotFoundException

            try:
                self._store = FeatureStore(repo_path=str(repository))
                self._names = [field.name for field in self._store.get_feature_view(view).features]
            except FeastObjectNotFoundException as problem:
                raise ModelConfigError(f"{repository} has no feature view `{view}`: {problem}") from problem
            except Exception as problem:
                raise ArtifactError(f"{repository} is no Feast repository: {problem}: run `conch build`") from problem
        self._repository = repository
        self._references = [f"{view}:{name}" for name in self._names]
        # Feast opens its online store at the first lookup: a store that cannot be read is found before it is served.
        self([""])

    def __call__(self, entities: Sequence[str]) -> list[Values]:
        """The stored values of each entity by name; none of one that the store does not know. Raises StoreFailed."""
        rows = [{ENTITY: entity} for entity in entities]
        try:
            answer = self._store.get_online_features(features=self._references, entity_rows=rows).to_dict()
        except Exception as problem:
            # Feast passes on whatever its database raises.
            raise StoreFailed(self._repository, f"its online store cannot be read ({problem})") from problem
        return [
            {name: answer[name][row] for name in self._names if answer[name][row] is not None}
            for row in range(len(entities))
        ]
