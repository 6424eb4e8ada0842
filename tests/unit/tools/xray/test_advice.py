"""What would help, said of what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from conch_tools.xray.advice import Serving, advice, bottleneck_of
from conch_tools.xray.plan import Config, Plan, plan_of
from conch_tools.xray.tensors import facts_of
from conch_tools.xray.timing import Called, Parts, Request, Span, StepTime, Timing

IDLE = Parts(0.05, 0.02, 0.2, 0.05)
BATCHES: dict[str, Any] = {"max_batch_size": 8, "dynamic_batching": {}, "instance_group": [{"count": 1}]}


def two_steps(**config: Any) -> Plan:
    """`fast` and then `slow`, which is configured as told."""
    told: dict[str, Config] = {
        "whole": {
            "platform": "ensemble",
            "input": [{"name": "x"}],
            "output": [{"name": "z"}],
            "ensemble_scheduling": {
                "step": [
                    {"model_name": "fast", "input_map": {"x": "x"}, "output_map": {"y": "y"}},
                    {"model_name": "slow", "input_map": {"y": "y"}, "output_map": {"z": "z"}},
                ]
            },
        },
        "fast": {"backend": "python", "input": [{"name": "x"}], "output": [{"name": "y"}]},
        "slow": {"backend": "onnxruntime", "input": [{"name": "y"}], "output": [{"name": "z"}], **config},
    }
    return plan_of("whole", "", lambda model, version: told[model])


def timing(slow: Parts, **more: Any) -> Timing:
    """`slow` takes as told, `fast` next to nothing; `more` are fields of Timing, or of the step's time."""
    total_ms = IDLE.total_ms + slow.total_ms
    spans = {"fast": Span("fast", 0.0, IDLE), "slow": Span("slow", IDLE.total_ms, slow)}
    own: dict[str, Any] = {name: more.pop(name) for name in ("alone", "batch", "cached") if name in more}
    times: dict[str, Any] = {"inside": slow, "alone": None, "batch": 1.0, "cached": False, **own}
    step = StepTime(**times)
    plain = Timing(
        source="trace",
        remark=None,
        requests=20,
        concurrency=1,
        total_ms=total_ms,
        wall_ms=total_ms + 0.4,
        outside_ms=0.0,
        steps={"fast": StepTime(IDLE, IDLE, 1.0, False), "slow": step},
        typical=Request(total_ms, spans),
        path={"fast": IDLE.total_ms, "slow": slow.total_ms},
    )
    return replace(plain, **more)


def said(plan: Plan, measured: Timing, **facts: Any) -> str:
    return " ".join(advice(plan, measured, [facts_of(wire, "FP32", array) for wire, array in facts.items()]))


def test_the_bottleneck_is_what_adds_most_to_the_path() -> None:
    plan, measured = two_steps(), timing(Parts(0.1, 0.1, 9.0, 0.1))
    assert bottleneck_of(plan, measured).name == "slow"
    assert "`slow` is the bottleneck: 97 % of the critical path. It takes 9.30 ms, 9.00 ms of it computing." in said(
        plan, measured
    )


@pytest.mark.parametrize(
    ("config", "cure"),
    [
        ({"max_batch_size": 0}, r"its one instance takes requests one by one and cannot batch"),
        ({"max_batch_size": 8}, r"let them be joined with `dynamic_batching { }`"),
        (BATCHES, r"3.0 items at a time: raise instance_group's count (now 1;"),
        ({"instance_group": [{"count": 2, "gpus": [0, 1]}]}, r"its 4 instances take requests one by one"),
    ],
)
def test_waiting_is_cured_by_what_the_configuration_lacks(config: Mapping[str, Any], cure: str) -> None:
    measured = timing(Parts(20.0, 0.1, 5.0, 0.1), concurrency=8, batch=3.0)
    assert cure in said(two_steps(**config), measured)
    assert "Requests wait 20.0 ms for `slow`, which works for 5.00 ms" in said(two_steps(**config), measured)


def test_waiting_for_a_batch_that_never_comes_is_the_queue_delays_fault() -> None:
    delayed = {"max_batch_size": 8, "dynamic_batching": {"max_queue_delay_microseconds": 5000}}
    measured = timing(Parts(4.8, 0.1, 2.0, 0.1))
    assert "lower the delay" in said(two_steps(**delayed), measured)
    assert "raise instance_group's count" not in said(two_steps(**delayed), measured)
    assert "lower the delay" not in said(two_steps(**BATCHES), measured)


def test_a_short_wait_is_not_worth_a_word() -> None:
    assert "wait" not in said(two_steps(**BATCHES), timing(Parts(0.25, 0.02, 0.5, 0.05)))


def test_a_lone_callers_wait_is_somebody_elses_doing() -> None:
    assert "others ask it too" in said(two_steps(**BATCHES), timing(Parts(9.0, 0.1, 2.0, 0.1)))


def test_a_model_that_computes_needs_threads_batches_or_less_to_do() -> None:
    text = said(two_steps(**BATCHES), timing(Parts(0.1, 0.1, 9.0, 0.1)))
    assert "intra_op_thread_count" in text and "quantised" in text and "--concurrency" in text
    assert "intra_op_thread_count" not in said(two_steps(backend="python"), timing(Parts(0.1, 0.1, 9.0, 0.1)))


def test_what_a_step_asks_by_itself_is_named_as_the_place_to_look() -> None:
    calls = (Called("embed", 1.0, 8.0, "slow", None), Called("embed_model", 1.0, 7.0, "slow", "embed"))
    text = said(two_steps(), timing(Parts(0.1, 0.1, 9.0, 0.1), called=calls))
    assert "asks `embed` by itself, which takes 8.00 ms: look into that with `conch xray embed`" in text
    assert "embed_model" not in text and "quantised" not in text
    others = (Called("embed", 1.0, 8.0, "fast", None),)
    assert "asks `embed`" not in said(two_steps(), timing(Parts(0.1, 0.1, 9.0, 0.1), called=others))


def test_large_tensors_are_blamed_for_copying_and_small_ones_are_not() -> None:
    copying = timing(Parts(0.1, 4.0, 1.0, 0.1))
    text = said(two_steps(), copying, y=np.zeros((1, 100_000), dtype=np.float32))
    assert "`slow` needs 4.00 ms for taking its inputs in; the largest is `y`, FP32 [1, 100000], 400,000 bytes" in text
    assert "needs" not in said(two_steps(), copying, y=np.zeros((1, 10), dtype=np.float32))


def test_a_step_that_is_slower_within_the_whole_competes_for_the_processor() -> None:
    measured = timing(Parts(0.1, 0.1, 9.0, 0.1), alone=Parts(0.1, 0.1, 3.0, 0.1))
    assert "computes for 9.00 ms within the whole, alone for 3.00 ms: steps beside it" in said(two_steps(), measured)
    alike = timing(Parts(0.1, 0.1, 9.0, 0.1), alone=Parts(0.1, 0.1, 8.0, 0.1))
    assert "within the whole" not in said(two_steps(), alike)


def test_time_in_no_step_and_on_the_way_to_the_caller_is_told() -> None:
    parts = Parts(0.1, 0.1, 2.0, 0.1)
    assert "5.00 ms of 7.62 ms belong to no step" in said(two_steps(), timing(parts, outside_ms=5.0, total_ms=7.62))
    assert "27.4 ms of 30.0 ms at the caller are the way there and back" in said(
        two_steps(), timing(parts, wall_ms=30.0)
    )
    quiet = said(two_steps(), timing(parts))
    assert "no step" not in quiet and "at the caller" not in quiet


def test_a_cached_answer_is_no_measure_of_a_new_one() -> None:
    assert "answered from the response cache" in said(two_steps(), timing(Parts(0, 0, 9.0, 0), cached=True))


def test_a_late_answer_is_told_because_triton_does_not() -> None:
    assert "`slow` answers 18.0 ms after its `execute` has returned" in said(
        two_steps(), timing(Parts(0.1, 0.1, 0.2, 0.0, later_ms=18.0))
    )


def test_nothing_configured_is_one_instance_that_does_not_batch() -> None:
    assert Serving.of({}) == Serving("", 0, 1, False, 0.0)
    # Triton takes batching of a model without batches for none.
    assert not Serving.of({"dynamic_batching": {}}).batches
