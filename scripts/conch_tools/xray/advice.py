"""Which step decides how long a request takes, and what would help: rules over what was measured and configured.

Every sentence names the figures it rests on. A rule that has nothing to say stays silent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from conch_tools.xray.plan import Config, Plan, Step
from conch_tools.xray.tensors import TensorFacts
from conch_tools.xray.timing import Parts, StepTime, Timing

WORTH_TELLING = 0.15
"""Share of the whole below which nothing is said."""
SMALL_MS = 0.3
"""What Triton's own way takes on a busy machine, so no finding."""
COPIES_SHARE = 0.25
"""Of a step, above which copying is a finding."""
LARGE_BYTES = 64 * 1024
"""A tensor that is worth making smaller."""
SLOWER_TOGETHER = 1.5
"""How much longer than alone a step computes within the ensemble before that is a finding."""
NEAR_DELAY = 0.5
"""Share of the configured queue delay from which waiting is called that delay."""


@dataclass(frozen=True)
class Serving:
    """What a model's configuration says of how it is served."""

    backend: str
    max_batch_size: int
    instances: int
    batches: bool
    """It joins requests: `dynamic_batching`."""
    queue_delay_ms: float

    @classmethod
    def of(cls, config: Config) -> Serving:
        """From the configuration as the server completed it."""
        batching = config.get("dynamic_batching")
        return cls(
            backend=config.get("backend") or config.get("platform", ""),
            max_batch_size=config.get("max_batch_size", 0),
            instances=sum(
                group.get("count", 1) * max(1, len(group.get("gpus", ()))) for group in config.get("instance_group", ())
            )
            or 1,
            batches=batching is not None and config.get("max_batch_size", 0) > 0,
            queue_delay_ms=(batching or {}).get("max_queue_delay_microseconds", 0) / 1e3,
        )


def bottleneck_of(plan: Plan, timing: Timing) -> Step:
    """The step that adds most to the critical path."""
    slowest = max(timing.path, key=lambda name: timing.path[name])
    return next(step for step in plan.steps if step.name == slowest)


def advice(plan: Plan, timing: Timing, facts: Sequence[TensorFacts]) -> list[str]:
    """Sentences, the bottleneck first."""
    step = bottleneck_of(plan, timing)
    about = _About(step, timing.steps[step.name], Serving.of(step.config), timing)
    said = [_bottleneck(plan, about)]
    for rule in (_queueing, _working):
        said += rule(about)
    said += _copying(plan, timing, facts)
    said += _together(plan, timing)
    said += _outside(plan, timing)
    said += _at_the_caller(timing)
    return said


@dataclass(frozen=True)
class _About:
    step: Step
    time: StepTime
    serving: Serving
    timing: Timing

    @property
    def name(self) -> str:
        return f"`{self.step.name}`"

    @property
    def parts(self) -> Parts:
        return self.time.inside


def _bottleneck(plan: Plan, about: _About) -> str:
    biggest, ms = max(_phases(about.parts), key=lambda phase: phase[1])
    if len(plan.steps) == 1:
        return f"{about.name} takes {in_ms(about.parts.total_ms)}, {in_ms(ms)} of it {biggest}."
    path = about.timing.path
    share = 100 * path[about.step.name] / max(sum(path.values()), 1e-9)
    return (
        f"{about.name} is the bottleneck: {share:.0f} % of the critical path. It takes {in_ms(about.parts.total_ms)}, "
        f"{in_ms(ms)} of it {biggest}."
    )


def _queueing(about: _About) -> Iterator[str]:
    parts, serving, timing = about.parts, about.serving, about.timing
    if parts.queue_ms < max(SMALL_MS, WORTH_TELLING * timing.total_ms):
        return
    if serving.queue_delay_ms and parts.queue_ms >= NEAR_DELAY * serving.queue_delay_ms and about.time.batch <= 1.0:
        yield (
            f"{about.name} waits {in_ms(parts.queue_ms)} for a batch, up to max_queue_delay_microseconds "
            f"({in_ms(serving.queue_delay_ms)}), and got {about.time.batch:.1f} items: lower the delay, or send more "
            "at once."
        )
        return
    if timing.concurrency == 1:
        yield (
            f"{about.name} waits {in_ms(parts.queue_ms)} in its queue though we send one request at a time: others ask "
            "it too, or its instances are still busy with the request before."
        )
    instances = "its one instance takes" if serving.instances == 1 else f"its {serving.instances} instances take"
    waits = f"Requests wait {in_ms(parts.queue_ms)} for {about.name}, which works for {in_ms(parts.work_ms)}"
    if not serving.max_batch_size:
        cure = "raise instance_group's count"
        yield f"{waits}: {instances} requests one by one and cannot batch (max_batch_size 0): {cure}."
    elif not serving.batches:
        yield f"{waits}: {instances} requests one by one: let them be joined with `dynamic_batching {{ }}`."
    else:
        delay = f"queue delay {in_ms(serving.queue_delay_ms)}" if serving.queue_delay_ms else "no queue delay"
        yield (
            f"{waits}, {about.time.batch:.1f} items at a time: raise instance_group's count (now {serving.instances}; "
            f"each one needs its memory again), or let more of them be joined (max_batch_size "
            f"{serving.max_batch_size}, {delay})."
        )


def _working(about: _About) -> Iterator[str]:
    parts, timing = about.parts, about.timing
    if about.time.cached:
        yield f"{about.name} was answered from the response cache: a new request takes longer."
        return
    if parts.work_ms < max(SMALL_MS, WORTH_TELLING * timing.total_ms) or parts.work_ms < parts.total_ms / 2:
        return
    if parts.later_ms > parts.compute_ms:
        yield (
            f"{about.name} answers {in_ms(parts.later_ms)} after its `execute` has returned: it works on, and Triton's "
            "own figures do not show it."
        )
    calls = [each for each in timing.called if each.of_step in (about.step.name, None) and each.within is None]
    called_ms = sum(each.times * each.mean_ms for each in calls)
    works = f"{about.name} works for {in_ms(parts.work_ms)}"
    if calls:
        named = ", ".join(f"`{each.model}`" for each in calls)
        look = f"look into that with `conch xray {calls[0].model}`"
        yield f"{works} and meanwhile asks {named} by itself, which takes {in_ms(called_ms)}: {look}."
    if called_ms < parts.work_ms / 2:
        yield f"{works}: {_faster(about.serving, timing)}."


def _faster(serving: Serving, timing: Timing) -> str:
    if serving.backend == "python":
        return "its model.py is where the time goes: profile it, or let several requests be answered at once"
    if serving.backend in ("onnxruntime", "tensorrt", "pytorch", "tensorflow", "openvino"):
        ways = ["more threads (intra_op_thread_count)"] if serving.backend == "onnxruntime" else []
        ways += ["a smaller or quantised model"]
        if timing.concurrency == 1 and serving.max_batch_size > 1:
            ways += ["under load larger batches (try --concurrency)"]
        return "what would help are " + ", ".join(ways)
    return f"the time goes into its backend `{serving.backend}`"


def _copying(plan: Plan, timing: Timing, facts: Sequence[TensorFacts]) -> Iterator[str]:
    by_wire = {each.wire: each for each in facts}
    for step in plan.steps:
        parts = timing.steps[step.name].inside
        for copied_ms, what, wires in (
            (parts.input_ms, "taking its inputs in", step.inputs.values()),
            (parts.output_ms, "giving its outputs out", step.outputs.values()),
        ):
            known = [by_wire[wire] for wire in wires if wire in by_wire]
            big = max(known, key=lambda each: each.size_bytes, default=None)
            least = max(SMALL_MS, COPIES_SHARE * parts.total_ms, WORTH_TELLING * timing.total_ms)
            if copied_ms > least and big is not None and big.size_bytes >= LARGE_BYTES:
                yield (
                    f"`{step.name}` needs {in_ms(copied_ms)} for {what}; the largest is `{big.wire}`, {big.described}, "
                    f"{big.size_bytes:,} bytes: make it smaller, or join the steps that it lies between."
                )


def _together(plan: Plan, timing: Timing) -> Iterator[str]:
    for step in plan.steps:
        time = timing.steps[step.name]
        if time.alone is None or time.cached:
            continue
        more = time.inside.compute_ms - time.alone.compute_ms
        if time.inside.compute_ms > SLOWER_TOGETHER * time.alone.compute_ms and more > max(
            SMALL_MS, WORTH_TELLING * timing.total_ms
        ):
            beside = "other requests" if timing.concurrency > 1 else "steps beside it, or other callers,"
            batched = f", in batches of {time.batch:.1f}" if time.batch > 1 else ""
            yield (
                f"`{step.name}` computes for {in_ms(time.inside.compute_ms)} within the whole{batched}, alone for "
                f"{in_ms(time.alone.compute_ms)}: {beside} compete with it for the processor."
            )


def _outside(plan: Plan, timing: Timing) -> Iterator[str]:
    if plan.is_ensemble and timing.outside_ms > max(SMALL_MS, WORTH_TELLING * timing.total_ms):
        yield (
            f"{in_ms(timing.outside_ms)} of {in_ms(timing.total_ms)} belong to no step: the ensemble hands tensors on "
            f"between {len(plan.steps)} steps; fewer steps would help."
        )


def _at_the_caller(timing: Timing) -> Iterator[str]:
    way_ms = timing.wall_ms - timing.total_ms
    if way_ms > max(2 * SMALL_MS, timing.wall_ms / 3):
        yield (
            f"{in_ms(way_ms)} of {in_ms(timing.wall_ms)} at the caller are the way there and back: the network, the "
            "messages, and with several callers this command itself."
        )


def _phases(parts: Parts) -> list[tuple[str, float]]:
    return [
        ("waiting in its queue", parts.queue_ms),
        ("taking inputs in", parts.input_ms),
        ("computing", parts.compute_ms),
        ("giving outputs out", parts.output_ms),
        ("working on before it answered", parts.later_ms),
    ]


def in_ms(ms: float) -> str:
    """As people read it."""
    return f"{ms:.2f} ms" if ms < 10 else f"{ms:.1f} ms"
