"""Every step of the repository, as config.pbtxt, model.py and built artifacts make it, in any company of requests.

Each is asked mixes of made-up requests and of those that it gets when its pipeline answers its samples: one answer a
request, in order, the same as alone, and an error only for the request that deserves it. A new step is tested by being
there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from conch_tools.pipelines import Pipeline, Sample, load_pipelines
from conch_tools.settings import Settings
from conch_tools.step_kit import Ensemble, Reply, Request, Step, StepRepository
from conch_tools.step_kit.fuzzing import fuzz_step, requests_of
from conch_tools.step_kit.model_folder import read_config

REPOSITORY, BACKENDS = Settings().repository, Settings().backends
PIPELINES = load_pipelines(REPOSITORY)
CONFIGS = {name: read_config(REPOSITORY / name) for name in StepRepository(REPOSITORY)}
STEPS = [name for name, config in CONFIGS.items() if "ensemble_scheduling" not in config]
EXAMPLES = 8
CALLING_EXAMPLES = 4
"""For steps that call others, which run as well."""
SAMPLES, LARGEST = 6, 8
"""How many of the overheard requests take part, and how many rows they have at most."""
CALLS = {"model", "embedding"}
"""Parameters of config.pbtxt that name a called model."""
PARAMETERS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "top_k": st.sampled_from([1, 2, 0, -1, "many", True]),
        "hypothesis_template": st.sampled_from(["{}!", "none"]),
    },
)
CHANGES = {"search_changes"}
"""What changes what it is asked about, so that the same question has another answer the second time."""


class Overheard(StepRepository):
    """Notes what every step is asked, by the ensembles and by other steps."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.requests: dict[str, list[Request]] = {}

    def unheard(self, name: str) -> Step:
        """The step itself."""
        step = super().__getitem__(name)
        assert isinstance(step, Step)
        return step

    def __getitem__(self, name: str) -> Any:
        return _Noted(super().__getitem__(name), self.requests.setdefault(name, []))


class _Noted:
    def __init__(self, model: Step | Ensemble, requests: list[Request]) -> None:
        self.name, self.decoupled, self._model, self._requests = model.name, model.decoupled, model, requests

    def execute(self, requests: Sequence[Request]) -> list[Reply]:
        self._requests.extend(requests)
        return self._model.execute(requests)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Overheard]:
    """All models, after every pipeline has answered its samples."""
    repository = Overheard(REPOSITORY, BACKENDS)
    with pytest.MonkeyPatch.context() as patch, repository:
        patch.setenv("CONCH_STATE", str(tmp_path_factory.mktemp("state")))
        for pipeline in PIPELINES:
            for sample in pipeline.samples:
                (reply,) = repository[pipeline.name].execute([_request(pipeline, sample)])
                assert reply.error is None
        yield repository


def _request(pipeline: Pipeline, sample: Sample) -> Request:
    """The sample as a batch of one."""
    values = pipeline.sample_inputs(sample)
    return Request({name: [value if isinstance(value, list) else [value]] for name, value in values.items()})


@pytest.mark.parametrize("name", STEPS)
def test_a_step_answers_each_request_alike_in_any_company(name: str, models: Overheard) -> None:
    heard = [request for request in models.requests.get(name, []) if _rows(request) <= LARGEST][:SAMPLES]
    requests = requests_of(CONFIGS[name], parameters=PARAMETERS)
    calls = CALLS & CONFIGS[name]["parameters"].keys()
    step = models.unheard(name)
    fuzz_step(
        step,
        st.one_of(st.sampled_from(heard), requests) if heard else requests,
        # What comes from another model may be impossible; what comes from a caller is the caller's mistake.
        may_fail_with=("INVALID_ARG",) if _asked_by_callers(name) else ("INVALID_ARG", "INTERNAL"),
        stateless=name not in CHANGES,
        read=_without_padding,
        examples=CALLING_EXAMPLES if calls else EXAMPLES,
    )


def _without_padding(request: Request, outputs: dict[str, Any]) -> dict[str, Any]:
    """The logits of a row's own tokens: models that tell something of every token answer as wide as their batch."""
    if "logits" not in outputs or outputs["logits"].ndim < 3:
        return outputs
    rows = zip(outputs["logits"], np.ravel(request.inputs["length"]), strict=True)
    return {**outputs, "logits": np.concatenate([row[:length] for row, length in rows])}


def _rows(request: Request) -> int:
    return max(len(value) for value in request.inputs.values())


def _asked_by_callers(name: str) -> bool:
    return all(tensor["data_type"] == "TYPE_STRING" for tensor in CONFIGS[name]["input"])
