"""What is worth trying: bounded by the machine, by the load and by what the pipeline has promised."""

from __future__ import annotations

import pytest

from conch_tools.tune.space import Bounds, Candidate, Knob, StepSettings, knobs, points

MODEL, TOKENIZE = "pipe_model", "pipe_tokenize"


def knob(found: list[Knob], name: str) -> Knob:
    return next(each for each in found if str(each) == name)


def values(found: Knob, key: str) -> list[object]:
    return [value[key] for value in found.values]


def test_a_runtime_step_has_processes_sizes_and_delay_and_a_python_step_has_processes(start: Candidate) -> None:
    found = knobs(start, Bounds(2, 16, {}), [MODEL, TOKENIZE])
    assert [str(each) for each in found] == [
        "instances and threads of pipe_model",
        "preferred sizes of pipe_model",
        "queue delay of pipe_model",
        "instances of pipe_tokenize",
    ]


def test_instances_and_threads_fill_half_of_the_cores_and_at_most_twice_all(start: Candidate) -> None:
    [parallelism, *_] = knobs(start, Bounds(4, 16, {}), [MODEL])
    used = [value["instances"] * value["threads"] for value in parallelism.values]
    assert min(used) == 2
    assert max(used) == 8
    assert {"instances": 1, "threads": 4, "spinning": True} in parallelism.values
    assert not any(value["spinning"] for value in parallelism.values if value["threads"] == 1)


def test_memory_bounds_the_processes(start: Candidate) -> None:
    found = knobs(start, Bounds(16, 16, {MODEL: 3, TOKENIZE: 1}), [MODEL, TOKENIZE])
    assert max(values(knob(found, "instances and threads of pipe_model"), "instances")) == 3  # type: ignore[type-var]
    assert values(knob(found, "instances of pipe_tokenize"), "instances") == [1]


@pytest.mark.parametrize(("concurrency", "sizes"), [(3, [()]), (4, [(), (4,)]), (20, [(), (4,), (8,), (16,), (20,)])])
def test_no_preferred_size_is_larger_than_what_is_in_flight(
    start: Candidate, concurrency: int, sizes: list[tuple[int, ...]]
) -> None:
    found = knobs(start, Bounds(2, concurrency, {}), [MODEL])
    assert values(knob(found, "preferred sizes of pipe_model"), "preferred") == sizes


def test_the_maximum_batch_is_raised_where_the_load_could_fill_it_and_never_lowered(start: Candidate) -> None:
    assert not [each for each in knobs(start, Bounds(2, 64, {}), [MODEL]) if each.model is None]
    found = knobs(start, Bounds(2, 65, {}), [MODEL])
    assert values(knob(found, "maximum batch"), "max_batch") == [128]
    assert all(candidate.max_batch >= start.max_batch for candidate in points(start, found))


def test_a_step_without_a_batcher_has_no_delay() -> None:
    alone = Candidate((StepSettings(MODEL, 1, 1, False, None),), 0)
    assert [each.name for each in knobs(alone, Bounds(2, 16, {}), [MODEL])] == [
        "instances and threads",
        "maximum batch",
    ]


def test_the_points_are_all_combinations_each_once(start: Candidate) -> None:
    delays = Knob("queue delay", MODEL, ({"queue_delay_us": 0}, {"queue_delay_us": 500}))
    processes = Knob("instances", TOKENIZE, ({"instances": 1}, {"instances": 2}))
    found = points(start, [delays, processes, delays])
    assert len(found) == 4
    assert start in found
    assert start.changed(MODEL, {"queue_delay_us": 500}).changed(TOKENIZE, {"instances": 2}) in found


def test_settings_are_said_in_words() -> None:
    step = StepSettings(MODEL, 2, 4, True, 500, (8, 16))
    assert str(step) == "2 instances of 4 threads, spinning, queue delay 500 µs, preferred sizes 8, 16"
    assert str(StepSettings(TOKENIZE)) == "1 instance"
