"""Where the time goes, from what was traced or counted."""

from collections.abc import Callable

import pytest

from conch_tools.xray.counters import Counters, Round, called, since, summed
from conch_tools.xray.plan import Plan
from conch_tools.xray.timing import (
    Parts,
    Request,
    Span,
    critical_path,
    timing_of_counters,
    timing_of_traces,
    typical,
    usual_path,
)

PlanOf = Callable[[str], Plan]
MS = 1_000_000


def request(total_ms: float, **spans: tuple[float, Parts]) -> Request:
    return Request(total_ms, {name: Span(name, start, parts) for name, (start, parts) in spans.items()})


def a_vote(slow_ms: float = 5.0, total_ms: float = 10.0) -> Request:
    """rows until 2, left until 3, right until 3 + slow_ms, join until the end."""
    return request(
        total_ms,
        rows=(0.0, Parts(0.5, 0.25, 1.0, 0.25)),
        left=(2.0, Parts(0.0, 0.0, 1.0, 0.0)),
        right=(2.0, Parts(1.0, 0.0, slow_ms, 0.0)),
        join=(3.0 + slow_ms, Parts(0.0, 0.0, total_ms - 3.0 - slow_ms, 0.0)),
    )


def counted(requests: int = 1, total: float = 0.0, queue: float = 0.0, compute: float = 0.0) -> Counters:
    ns = {"total_ns": round(total * MS), "queue_ns": round(queue * MS), "compute_ns": round(compute * MS)}
    return Counters(requests=requests, inferences=requests, executions=1, **ns)


def test_the_critical_path_goes_through_the_branch_that_is_waited_for(plan: PlanOf) -> None:
    assert critical_path(plan("vote"), a_vote()) == {"rows": 2.0, "right": 6.0, "join": 2.0}


def test_what_the_steps_add_to_the_path_is_the_whole(plan: PlanOf) -> None:
    assert sum(critical_path(plan("vote"), a_vote(4.5, 20.0)).values()) == 20.0


def test_a_batch_that_hands_on_slowly_does_not_move_the_path(plan: PlanOf) -> None:
    slow = a_vote()
    spans = {**slow.spans, "rows": Span("rows", 0.0, Parts(0.5, 0.25, 1.0, 50.0))}
    assert list(critical_path(plan("vote"), Request(slow.total_ms, spans))) == ["rows", "right", "join"]


def test_time_that_no_step_has_is_the_ensembles() -> None:
    spans = {"a": (1.0, Parts(0, 0, 2.0, 0)), "b": (2.0, Parts(0, 0, 2.0, 0)), "c": (6.0, Parts(0, 0, 9.0, 0))}
    assert request(10.0, **spans).outside_ms == pytest.approx(1.0 + 2.0)


def test_traces_are_sorted_and_their_parts_are_medians(plan: PlanOf) -> None:
    requests, parts = timing_of_traces(plan("vote"), [a_vote(5, 10), a_vote(1, 6), a_vote(2, 7)])
    assert [each.total_ms for each in requests] == [6, 7, 10]
    assert typical(requests).total_ms == 7
    assert parts["right"].compute_ms == 2
    assert usual_path(plan("vote"), requests) == {"rows": 2.0, "right": 3.0, "join": 2.0}


def test_a_trace_without_one_of_the_steps_is_refused(plan: PlanOf) -> None:
    with pytest.raises(ValueError, match="no time of join was traced"):
        timing_of_traces(plan("vote"), [request(3.0, rows=(0, Parts(1, 0, 0, 0)), left=(0, Parts(1, 0, 0, 0)),
                                                right=(0, Parts(1, 0, 0, 0)))])  # fmt: skip
    with pytest.raises(ValueError, match="no time of any request"):
        timing_of_traces(plan("vote"), [])


def test_a_step_that_answers_after_its_execute_has_returned_is_given_the_time_until_then(plan: PlanOf) -> None:
    late = request(20.0, left=(0.5, Parts(0.25, 0.0, 0.25, 0.0)))
    (answered,), parts = timing_of_traces(plan("left"), [late])
    assert parts["left"].later_ms == 19.0
    assert answered.outside_ms == pytest.approx(0.5)
    assert parts["left"].work_ms == 19.25


def test_what_an_ensemble_needs_to_hand_on_is_not_called_late(plan: PlanOf) -> None:
    _, parts = timing_of_traces(plan("left"), [request(1.2, left=(0.0, Parts(0.0, 0.0, 1.0, 0.0)))])
    assert parts["left"].later_ms == 0


def test_counters_are_laid_out_as_early_as_the_steps_allow(plan: PlanOf) -> None:
    one = {
        "rows": counted(2, compute=4),
        "left": counted(1, compute=1),
        "right": counted(1, queue=1, compute=3),
        "join": counted(1, compute=1),
        "vote": counted(1, total=7.5),
    }
    (laid_out,), parts = timing_of_counters(plan("vote"), [Round(1, one)])
    assert parts["rows"].compute_ms == 2
    assert {name: span.start_ms for name, span in laid_out.spans.items()} == {
        "rows": 0,
        "left": 2,
        "right": 2,
        "join": 6,
    }
    assert laid_out.total_ms == 7.5
    with pytest.raises(ValueError, match="counted no request to `rows`"):
        timing_of_counters(plan("vote"), [])


def test_a_model_that_counted_nothing_meanwhile_or_was_loaded_anew_is_left_out() -> None:
    before = {"a": counted(5, total=5), "b": counted(5, total=5), "c": counted(1)}
    after = {"a": counted(7, total=9), "b": counted(1, total=1), "c": counted(1), "d": counted(1, total=3)}
    grown = since(before, after)
    assert grown.keys() == {"a", "d"}
    assert grown["a"].mean_ms == 2.0


def test_models_that_answer_in_most_rounds_are_called_by_a_step_and_strangers_requests_are_not() -> None:
    often = {"embed": counted(1), "search_index": counted(1)}
    rounds = [Round(1, often), Round(1, {**often, "digits": counted(9)}), Round(1, {})]
    assert called(rounds, frozenset({"search_index"})) == ["embed"]
    assert called([Round(40, {"embed": counted(3)})], frozenset()) == []
    assert called([], frozenset()) == []
    assert summed(rounds)["embed"].requests == 2
