"""Which models a pipeline needs for an answer: its own steps, and those of the pipelines that they call."""

from __future__ import annotations

from collections.abc import Sequence

from conch_tools.pipelines import Pipeline


class Needs:
    """Of all pipelines that are served."""

    def __init__(self, pipelines: Sequence[Pipeline]) -> None:
        self.pipelines = pipelines
        self._by_name = {each.name: each for each in pipelines}

    def of(self, pipeline: Pipeline) -> list[str]:
        """The models, without the ensemble itself."""
        called = [model for used in pipeline.uses for model in self.of(self._by_name[used])]
        return list(dict.fromkeys([*pipeline.models, *called]))

    def ensembles_of(self, pipeline: Pipeline) -> list[str]:
        """The pipeline itself, behind those that its steps call."""
        called = [name for used in pipeline.uses for name in self.ensembles_of(self._by_name[used])]
        return list(dict.fromkeys([*called, pipeline.name]))

    def needing(self, model: str) -> list[Pipeline]:
        """The pipelines that cannot answer without a model."""
        return [each for each in self.pipelines if model == each.name or model in self.of(each)]
