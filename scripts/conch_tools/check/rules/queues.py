"""Rules about the dynamic batcher's queue: policies and priorities that Triton refuses, and those that do nothing."""

from __future__ import annotations

from collections.abc import Iterator

from tritonclient.grpc import model_config_pb2

from conch_tools.check.findings import Problem, Severity
from conch_tools.check.pbtxt import Mark
from conch_tools.check.repository import Model, Repository
from conch_tools.check.rulebook import Rulebook
from conch_tools.check.rules.config import with_config


def with_dynamic_batching(repository: Repository) -> Iterator[Model]:
    """Every model that the dynamic batcher serves."""
    return (model for model in with_config(repository) if model.config.HasField("dynamic_batching"))


QUEUES = Rulebook[Model](with_dynamic_batching)


@QUEUES.rule("CFG020", Severity.ERROR)
def priority_out_of_range(model: Model) -> Iterator[Problem]:
    """A priority is outside 1 to `priority_levels`.

    Requests that name none get `default_priority_level`, so it must be one of the levels; a policy for another level
    would never apply. Triton refuses both.

    Bad in `sentiment_tokenize/config.pbtxt`:

        dynamic_batching { priority_levels: 2 default_priority_level: 3 }

    Good:

        dynamic_batching { }

    Instead of:

        dynamic_batching { preferred_batch_size: [ 4, 8 ] }
    """
    batching, mark = model.config.dynamic_batching, _mark(model)
    levels = batching.priority_levels
    if not levels:
        return
    cure = f"choose from 1, the highest, to {levels}"
    if not 1 <= batching.default_priority_level <= levels:
        what = f"default_priority_level is {batching.default_priority_level}, and there are {levels} levels"
        yield Problem(model.place(mark.at("default_priority_level")), what, cure)
    for level in batching.priority_queue_policy:
        if not 1 <= level <= levels:
            what = f"there is a queue policy for priority {level}, and there are {levels} levels"
            yield Problem(model.place(mark.entry("priority_queue_policy", str(level))), what, cure)


@QUEUES.rule("CFG021", Severity.ERROR)
def order_that_cannot_be_kept(model: Model) -> Iterator[Problem]:
    """`preserve_ordering` stands beside what changes the order.

    Several priorities, and a timeout with the action DELAY, let requests overtake each other; Triton refuses them
    beside `preserve_ordering`.

    Bad in `sentiment_tokenize/config.pbtxt`:

        dynamic_batching { preserve_ordering: true priority_levels: 2 default_priority_level: 1 }

    Good:

        dynamic_batching { preserve_ordering: true }

    Instead of:

        dynamic_batching { preferred_batch_size: [ 4, 8 ] }
    """
    batching = model.config.dynamic_batching
    if not batching.preserve_ordering:
        return
    cure = "remove it, or `preserve_ordering`"
    if batching.priority_levels > 1:
        what = f"{batching.priority_levels} priority levels beside preserve_ordering"
        yield Problem(model.place(_mark(model).at("priority_levels")), what, cure)
    for policy, mark in _policies(model):
        if policy.default_timeout_microseconds and policy.timeout_action == model_config_pb2.ModelQueuePolicy.DELAY:
            what = "timeout_action DELAY beside preserve_ordering"
            yield Problem(model.place(mark.at("timeout_action")), what, cure)


@QUEUES.rule("CFG022", Severity.WARNING)
def batcher_without_batches(model: Model) -> Iterator[Problem]:
    """The dynamic batcher has nothing to join.

    It joins requests up to `max_batch_size`. With 0 or 1 each request runs alone, and what is said of batches has no
    effect but that requests wait out `max_queue_delay_microseconds`.

    Bad in `photo/config.pbtxt`:

        max_batch_size: 1
        dynamic_batching { max_queue_delay_microseconds: 100 }

    Good:

        max_batch_size: 8
        dynamic_batching { max_queue_delay_microseconds: 100 }

    Instead of:

        max_batch_size: 8
    """
    size = model.config.max_batch_size
    said = [name for name in ("preferred_batch_size", "max_queue_delay_microseconds") if name in _mark(model).fields]
    if 0 <= size <= 1 and said and model.inputs and model.outputs:
        what = f"`{said[0]}` does nothing, as max_batch_size is {size}"
        cure = "remove it, or let the model batch: set max_batch_size above 1"
        yield Problem(model.place(_mark(model).at(said[0])), what, cure)


@QUEUES.rule("CFG023", Severity.WARNING)
def timeout_without_effect(model: Model) -> Iterator[Problem]:
    """What a queue policy says of timeouts does nothing.

    A request's own timeout counts only where it is shorter than `default_timeout_microseconds`. That is 0 unless it is
    given, which means no timeout: then neither `allow_timeout_override` nor `timeout_action` has anything to act on.

    Bad in `sentiment_tokenize/config.pbtxt`:

        dynamic_batching { default_queue_policy { allow_timeout_override: true } }

    Good:

        dynamic_batching { }

    Instead of:

        dynamic_batching { preferred_batch_size: [ 4, 8 ] }
    """
    for policy, mark in _policies(model):
        said = [name for name in ("allow_timeout_override", "timeout_action") if getattr(policy, name)]
        if said and not policy.default_timeout_microseconds:
            what = f"`{said[0]}` does nothing, as there is no default_timeout_microseconds"
            yield Problem(model.place(mark.at(said[0])), what, "set default_timeout_microseconds above 0, or remove it")


@QUEUES.rule("CFG024", Severity.WARNING)
def priority_without_effect(model: Model) -> Iterator[Problem]:
    """Priorities are spoken of, and there are none.

    Without `priority_levels` all requests wait in one queue: a default level and policies of levels are passed over.

    Bad in `sentiment_tokenize/config.pbtxt`:

        dynamic_batching { default_priority_level: 2 }

    Good:

        dynamic_batching { }

    Instead of:

        dynamic_batching { preferred_batch_size: [ 4, 8 ] }
    """
    batching, mark = model.config.dynamic_batching, _mark(model)
    for field in ("default_priority_level", "priority_queue_policy"):
        if getattr(batching, field) and not batching.priority_levels:
            what = f"`{field}` does nothing, as there are no priority_levels"
            yield Problem(model.place(mark.at(field)), what, "set priority_levels, or remove it")


def _mark(model: Model) -> Mark:
    return model.marks.at("dynamic_batching")


def _policies(model: Model) -> Iterator[tuple[model_config_pb2.ModelQueuePolicy, Mark]]:
    batching, mark = model.config.dynamic_batching, _mark(model)
    if batching.HasField("default_queue_policy"):
        yield batching.default_queue_policy, mark.at("default_queue_policy")
    for level, policy in sorted(batching.priority_queue_policy.items()):
        yield policy, mark.entry("priority_queue_policy", str(level)).at("value")
