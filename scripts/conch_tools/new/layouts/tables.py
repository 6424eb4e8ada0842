"""Pipelines of tables: a classifier of rows of named values."""

from __future__ import annotations

from collections.abc import Mapping

from conch_tools.build.networks import is_network
from conch_tools.new.layouts.layout import CLASS_LABELS, Facts, Layout
from conch_tools.pipelines import Pipeline, Sample, Table, Task

# What reads a source is imported where it is needed, because it brings its framework along.


def tabular_classification(pipeline: Pipeline) -> Facts:
    """Of a classifier of named values."""
    from conch_tools.build.tabular_sources import tabular_model
    from conch_tools.new.tried import tried

    model = tabular_model(pipeline)
    features = {column.name: column.feature for column in model.columns}
    scores, rows = tried(model, features)
    ready = scores == "probabilities"
    return Facts(
        {
            "columns": len(features),
            "output": scores,
            "output_dims": len(model.labels),
            "classes": len(model.labels),
            "activation": "none" if ready else "softmax",
            "activation_comment": "The model answers probabilities." if ready else "One class of many fits.",
        },
        # Only where the source has no names: then they are written down, to be changed.
        table=Table(labels=model.labels) if is_network(pipeline) else None,
        features=features,
        samples=[Sample(input={"features": row}, expect={}) for row in rows],
    )


LAYOUTS: Mapping[Task, Layout] = {
    "tabular-classification": Layout(
        ensemble="tabular_classification/ensemble.pbtxt",
        steps={
            "features": "steps/tabular_features.pbtxt",
            "model": "steps/tabular_model.pbtxt",
            "labels": CLASS_LABELS,
        },
        facts=tabular_classification,
        # The model tells the names of the values; rows of them come with the facts.
        samples=({"features": {}},),
        description="Which class a row of named values belongs to.",
    ),
}
