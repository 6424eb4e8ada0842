"""What holds for every rule, and for a check as a whole."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping

from conch_tools.check import Finding
from conch_tools.check.findings import closest, cure_for_name, listed
from conch_tools.check.rules import SUBJECTS, all_rules

Check = Callable[[Mapping[str, str | bytes]], list[Finding]]
Graph = Callable[[str], bytes]


def test_every_rule_has_a_code_of_its_own_a_title_and_a_reason() -> None:
    rules = list(all_rules())
    assert len({rule.code for rule in rules}) == len(rules) > 50
    for rule in rules:
        assert re.fullmatch(rf"({'|'.join(SUBJECTS)})\d{{3}}", rule.code)
        assert rule.title.endswith(".") and rule.why.endswith(".")


def test_findings_read_from_the_top_of_each_file(check: Check) -> None:
    broken = 'name: "x"\nbackend: "nope"\ninput { name: "i" data_type: TYPE_FP32 dims: [ 0, -2 ] }\n'
    findings = check({f"{name}/config.pbtxt": broken for name in ("b", "a")} | {"a/1/": "", "b/1/": ""})
    assert [(finding.file.parent.name, finding.line) for finding in findings] == [
        *(("a", line) for line in (1, 2, 3, 3)),
        *(("b", line) for line in (1, 2, 3, 3)),
    ]


def test_forty_models_take_less_than_three_seconds_of_processor_time(check: Check, graph: Graph) -> None:
    content = graph("agraph (float[N, 4] x) => (float[N, K] y) { y = Relu(x) }")
    tensors = '{ name: "%s" data_type: TYPE_FP32 dims: [ 4 ] }'
    config = f'backend: "onnxruntime" max_batch_size: 8 input {tensors % "x"} output {tensors % "y"}'
    maps = 'input_map { key: "x" value: "%s" } output_map { key: "y" value: "%s" }'
    step = f'{{ model_name: "m%d" model_version: -1 {maps} }}'
    steps = ", ".join(step % (i, f"t{i}", f"t{i + 1}") for i in range(20))
    ensemble = f'platform: "ensemble" max_batch_size: 8 input {tensors % "t0"} output {tensors % "t20"}'
    files: dict[str, str | bytes] = {f"m{i}/config.pbtxt": config for i in range(20)}
    files |= {f"m{i}/1/model.onnx": content for i in range(20)}
    files |= {f"e{i}/config.pbtxt": f"{ensemble} ensemble_scheduling {{ step [ {steps} ] }}" for i in range(20)}
    files |= {f"e{i}/1/": "" for i in range(20)}
    # Of this process alone: another one's work is no fault of the check.
    start = time.process_time()
    assert check(files) == []
    assert time.process_time() - start < 3


def test_did_you_mean_offers_the_likeliest_name_whatever_its_case() -> None:
    assert closest("INPUT_IDS", ["input_ids", "length"]) == "input_ids"
    assert closest("pixels", ["input_ids", "length"]) is None
    assert cure_for_name("lenght", ["input_ids", "length"], "otherwise") == "did you mean `length`?"
    assert cure_for_name("pixels", ["input_ids"], "otherwise") == "otherwise"


def test_names_are_listed_as_in_a_sentence() -> None:
    assert listed([]) == "none"
    assert listed(["a"]) == "`a`"
    assert listed(["a", "b", "c"]) == "`a`, `b` and `c`"
