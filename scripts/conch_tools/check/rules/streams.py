"""Rules about ensembles with a decoupled step, which answers a request with any number of responses."""

from __future__ import annotations

from collections.abc import Iterator

from conch_tools.check.findings import Problem, Severity
from conch_tools.check.repository import Repository
from conch_tools.check.rulebook import Rulebook
from conch_tools.check.wiring import Wiring, wirings

STREAMS = Rulebook[Wiring](wirings)


@STREAMS.rule("ENS027", Severity.ERROR)
def decoupled_streams_meet(wiring: Wiring) -> Iterator[Problem]:
    """Tensors of two different decoupled models meet in one step, or among the ensemble's outputs.

    A decoupled model answers a request with any number of responses, so nothing tells which response of the
    one belongs to which of the other. Triton refuses the ensemble.

    Bad in `topics/config.pbtxt`:

        step {
          model_name: "words"
          model_version: -1
          input_map { key: "text" value: "text" }
          output_map { key: "word" value: "word" }
        }
        step {
          model_name: "topics_scores"
          model_version: -1
          input_map { key: "text" value: "word" }
          input_map { key: "labels" value: "labels" }

    Good:

        step {
          model_name: "topics_scores"
          model_version: -1
          input_map { key: "text" value: "text" }
          input_map { key: "labels" value: "labels" }
    """
    origins: dict[str, str] = dict.fromkeys(wiring.inputs, "")
    for step in wiring.runnable:
        met = {origins[name] for name in step.input_map.values()}
        if len(met) > 1:
            what = f"step {step.index} (`{step.model_name}`) joins responses of {_streams(met)}"
            yield Problem(wiring.place(step.mark), what, "feed it from one of them only")
        if _is_decoupled(wiring.repository, step.model_name):
            met = {f"step {step.index}"}
        origins.update(dict.fromkeys(step.output_map.values(), min(met, default="")))
    met = {origins[name] for name in wiring.outputs if name in origins}
    if len(met) > 1:
        what = f"the ensemble's outputs join responses of {_streams(met)}"
        mark = wiring.ensemble.marks.at("output")
        yield Problem(wiring.place(mark), what, "give the outputs of one of them only")


@STREAMS.rule("ENS028", Severity.ERROR)
def cached_stream(wiring: Wiring) -> Iterator[Problem]:
    """The response cache is on for an ensemble with a decoupled step.

    With such a step the ensemble has any number of answers itself, and Triton refuses the cache for it.

    Bad in `sentiment/config.pbtxt`:

        response_cache { enable: true }
        ensemble_scheduling {
          step [
            {
              model_name: "words"
              model_version: -1
              input_map { key: "text" value: "text" }
              output_map { key: "word" value: "word" }
            },
            {
              model_name: "sentiment_tokenize"
              model_version: -1
              input_map { key: "text" value: "word" }

    Good:

        ensemble_scheduling {
          step [
            {
              model_name: "words"
              model_version: -1
              input_map { key: "text" value: "text" }
              output_map { key: "word" value: "word" }
            },
            {
              model_name: "sentiment_tokenize"
              model_version: -1
              input_map { key: "text" value: "word" }

    Instead of:

        ensemble_scheduling {
          step [
            {
              model_name: "sentiment_tokenize"
              model_version: -1
              input_map { key: "text" value: "text" }
    """
    config = wiring.ensemble.config
    # Where the ensemble itself says decoupled, a rule about any model tells of it.
    if config.response_cache.enable and not config.model_transaction_policy.decoupled:
        for step in wiring.steps:
            if _is_decoupled(wiring.repository, step.model_name):
                what = f"response_cache beside the decoupled `{step.model_name}`"
                place = wiring.place(wiring.ensemble.marks.at("response_cache"))
                yield Problem(place, what, "remove `response_cache`")
                return


def _streams(origins: set[str]) -> str:
    return " and ".join(f"decoupled {origin}" if origin else "the request itself" for origin in sorted(origins))


def _is_decoupled(repository: Repository, name: str) -> bool:
    """Whether a model is decoupled, or an ensemble with a step that is: core overwrites what ensembles say."""
    seen, waiting = {name}, [name]
    while waiting:
        model = repository.models.get(waiting.pop())
        if model is not None:
            if not model.is_ensemble and model.config.model_transaction_policy.decoupled:
                return True
            names = {step.model_name for step in model.config.ensemble_scheduling.step} - seen
            seen |= names
            waiting += names
    return False
