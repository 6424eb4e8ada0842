"""Rules about the dynamic batcher's queue: what is refused, what does nothing, and on which line."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from conch_tools.check import Finding, Severity

Check = Callable[[Mapping[str, str | bytes]], list[Finding]]

MODEL = """\
backend: "echo"
max_batch_size: {size}
input {{ name: "x" data_type: TYPE_FP32 dims: 4 }}
output {{ name: "y" data_type: TYPE_FP32 dims: 4 }}
dynamic_batching {{
  {said}
}}
"""


def about_queues(check: Check, said: str, size: int = 8) -> list[Finding]:
    files = {"m/config.pbtxt": MODEL.format(said=said, size=size), "m/1/": ""}
    return [each for each in check(files) if each.code != "CFG015"]


@pytest.mark.parametrize(
    "said",
    [
        "priority_levels: 2 default_priority_level: 2 priority_queue_policy { key: 1 value { max_queue_size: 3 } }",
        "preserve_ordering: true priority_levels: 1 default_priority_level: 1",
        "preserve_ordering: true max_queue_delay_microseconds: 100",
        "default_queue_policy { allow_timeout_override: true default_timeout_microseconds: 1000 }",
        "default_queue_policy { timeout_action: DELAY default_timeout_microseconds: 1000 }",
    ],
)
def test_what_the_batcher_takes_and_uses_gives_no_finding(check: Check, said: str) -> None:
    assert about_queues(check, said) == []


@pytest.mark.parametrize(
    ("said", "code", "what"),
    [
        ("priority_levels: 2", "CFG020", "default_priority_level is 0, and there are 2 levels"),
        (
            "priority_levels: 2 default_priority_level: 1 priority_queue_policy { key: 3 value { max_queue_size: 1 } }",
            "CFG020",
            "there is a queue policy for priority 3, and there are 2 levels",
        ),
        (
            "preserve_ordering: true priority_levels: 2 default_priority_level: 1",
            "CFG021",
            "2 priority levels beside preserve_ordering",
        ),
        (
            "preserve_ordering: true default_queue_policy { timeout_action: DELAY default_timeout_microseconds: 9 }",
            "CFG021",
            "timeout_action DELAY beside preserve_ordering",
        ),
    ],
)
def test_what_triton_refuses_is_an_error(check: Check, said: str, code: str, what: str) -> None:
    (finding,) = about_queues(check, said)
    assert (finding.code, finding.severity, finding.what) == (code, Severity.ERROR, what)
    assert finding.line in (5, 6)


@pytest.mark.parametrize(
    ("said", "size", "code", "what"),
    [
        ("max_queue_delay_microseconds: 5", 0, "CFG022", "`max_queue_delay_microseconds` does nothing"),
        ("preferred_batch_size: 1", 1, "CFG022", "`preferred_batch_size` does nothing"),
        ("default_queue_policy { allow_timeout_override: true }", 8, "CFG023", "`allow_timeout_override` does nothing"),
        ("default_queue_policy { timeout_action: DELAY }", 8, "CFG023", "`timeout_action` does nothing"),
        ("default_priority_level: 2", 8, "CFG024", "`default_priority_level` does nothing"),
        ("priority_queue_policy { key: 1 value { max_queue_size: 3 } }", 8, "CFG024", "`priority_queue_policy` does"),
    ],
)
def test_what_does_nothing_is_a_warning(check: Check, said: str, size: int, code: str, what: str) -> None:
    (finding,) = about_queues(check, said, size)
    assert (finding.code, finding.severity, finding.line) == (code, Severity.WARNING, 6)
    assert finding.what.startswith(what)
