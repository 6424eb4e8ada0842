"""A Feast repository with its local store, made whole: the table, what describes it, and the online store filled.

It lies in the version folder of the step that looks values up, and every path in it is relative, so it can be moved.
Offline answers come from features.parquet, online ones from online.db, which holds the same values.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from conch_steps.feature_store import REPOSITORY_FILE
from conch_steps.features import ENTITY

TABLE = "features.parquet"
TIMESTAMP = "event_timestamp"
MEASURED = datetime(1995, 11, 1, tzinfo=timezone.utc)
"""When the values became known: the day the data set was given to the public."""
SETTINGS = """\
project: {project}
provider: local
# The folder never changes once it is built, so what is read of the registry need not be read again.
registry:
  path: registry.db
  cache_ttl_seconds: 0
online_store:
  type: sqlite
  path: online.db
offline_store:
  type: dask
entity_key_serialization_version: 3
"""


def write_feature_repo(
    folder: Path, project: str, view: str, rows: Mapping[str, Mapping[str, float | str]], texts: Sequence[str]
) -> None:
    """Write the repository of one feature view: `rows` holds each entity's values, of which `texts` are no numbers."""
    with warnings.catch_warnings():
        # Pydantic finds fault with Feast's own classes, which nobody here can mend.
        warnings.simplefilter("ignore")
        import pandas as pd
        from feast import FeatureStore

        table = pd.DataFrame([{ENTITY: entity, TIMESTAMP: MEASURED, **values} for entity, values in rows.items()])
        numbers = [name for name in next(iter(rows.values())) if name not in texts]
        table.astype(dict.fromkeys(numbers, "float32")).to_parquet(folder / TABLE)
        (folder / REPOSITORY_FILE).write_text(SETTINGS.format(project=project), encoding="utf-8")
        store = FeatureStore(repo_path=str(folder))
        # Feast reports on both streams what it materializes.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            store.apply(_described(view, numbers, texts))
            store.materialize(MEASURED - timedelta(days=1), MEASURED + timedelta(days=1))


def _described(view: str, numbers: Sequence[str], texts: Sequence[str]) -> list[Any]:
    from feast import Entity, FeatureView, Field, FileSource, ValueType
    from feast.types import Float32, String

    entity = Entity(name=ENTITY, join_keys=[ENTITY], value_type=ValueType.STRING)
    fields = [Field(name=name, dtype=Float32) for name in numbers] + [Field(name=name, dtype=String) for name in texts]
    source = FileSource(name=view, path=TABLE, timestamp_field=TIMESTAMP)
    # A ttl of nothing: a measured value does not expire.
    return [entity, FeatureView(name=view, entities=[entity], ttl=timedelta(0), schema=fields, source=source)]
