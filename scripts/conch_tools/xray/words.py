"""A report in sentences and cells, the same on a terminal and on a page."""

from __future__ import annotations

from collections.abc import Iterator

from conch_tools.xray.advice import in_ms
from conch_tools.xray.diff import StepDifference, first_divergence
from conch_tools.xray.plan import Plan, Step
from conch_tools.xray.report import Examined, Report
from conch_tools.xray.tensors import TensorFacts
from conch_tools.xray.timing import Timing


def summary(one: Examined) -> Iterator[str]:
    """What was measured and how, and whether the steps account for the whole. Nothing of a request that failed."""
    if one.problem:
        return
    if isinstance(one.timing, str):
        yield f"No times: {one.timing}."
    else:
        yield from _timing(one.timing)
    if one.walk.disagreements:
        yield (
            f"The whole answers otherwise than its steps one by one: {'; '.join(one.walk.disagreements)}. Then its "
            "wiring, its batching or chance makes the difference."
        )
    elif one.plan.is_ensemble:
        yield "The whole answers what its steps answer one by one."


def _timing(timing: Timing) -> Iterator[str]:
    callers = f", {timing.concurrency} at a time" if timing.concurrency > 1 else ""
    yield (
        f"{in_ms(timing.total_ms)} on the server, {in_ms(timing.wall_ms)} at the caller: medians of {timing.requests} "
        f"requests{callers}."
    )
    if timing.remark is not None:
        yield f"The steps' times are from Triton's counters, which others' requests share. No trace: {timing.remark}."
    for each in timing.called:
        inner = [f"`{part.model}` {in_ms(part.mean_ms)}" for part in timing.called if part.within == each.model]
        if each.within is None:
            by = f"`{each.of_step}` asks" if each.of_step else "Steps ask"
            parts = f" (in it {', '.join(inner)})" if inner else ""
            yield f"{by} `{each.model}` by itself, {each.times:.3g} x {in_ms(each.mean_ms)} a request{parts}."


def difference_words(report: Report) -> list[str]:
    """Where two versions part."""
    other = report.other
    if other is None:
        return []
    if other.problem:
        return [f"{other.target}: {other.problem}."]
    first = first_divergence(report.differences)
    alone = [f"`{each.step or each.other}`" for each in report.differences if not (each.step and each.other)]
    said = [f"Only one of the two has {', '.join(alone)}."] if alone else []
    if first is None:
        return [*said, f"No tensor differs by more than {report.tolerance:g}."]
    wire, worst = next((wire, each) for wire, each in first.tensors if each.beyond)
    return [*said, f"`{first.step}` is the first step that differs: `{wire}`, {worst.words}."]


def difference_ms(report: Report, pair: StepDifference) -> str:
    """What a step and its counterpart take within their wholes."""
    return " / ".join(
        f"{one.timing.steps[name].inside.total_ms:.2f}" if one and name and isinstance(one.timing, Timing) else "-"
        for one, name in ((report.one, pair.step), (report.other, pair.other))
    )


def time_table(plan: Plan, timing: Timing) -> Iterator[tuple[Step | None, list[str]]]:
    """The headings, with no step, then each step with its numbers in milliseconds. Columns with nothing to say are left
    out: `later` where every step answered when it was done, `batch` where no requests were joined."""
    times = timing.steps.values()
    later = any(each.inside.later_ms for each in times)
    batched = any(each.batch > 1 for each in times)
    optional = [*(["later"] if later else []), "total", "alone", *(["batch"] if batched else []), "path"]
    yield None, ["queue", "input", "compute", "output", *optional]
    for step in plan.steps:
        time = timing.steps[step.name]
        inside = time.inside
        phases = [inside.queue_ms, inside.input_ms, inside.compute_ms, inside.output_ms]
        cells = [f"{ms:.2f}" for ms in (*phases, *([inside.later_ms] if later else []), inside.total_ms)]
        cells += ["-" if time.alone is None else f"{time.alone.total_ms:.2f}"]
        cells += [f"{time.batch:.1f}" if time.batch else "-"] if batched else []
        yield step, [*cells, f"{timing.path[step.name]:.2f}" if step.name in timing.path else ""]


def range_words(facts: TensorFacts) -> str:
    """Smallest and largest number, and how many are no finite numbers."""
    words = [] if facts.range is None else [f"{facts.range.minimum:.4g} … {facts.range.maximum:.4g}"]
    odd = ((facts.nan, "NaN"), (facts.infinite, "infinite"))
    return ", ".join([*words, *(f"{count} {what}" for count, what in odd if count)])


def sample_words(facts: TensorFacts) -> str:
    """The first values, and how many there are beside them."""
    more = [f"… {facts.left_out} more"] if facts.left_out else []
    return ", ".join([*facts.sample, *more])
