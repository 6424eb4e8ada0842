"""Rules about what models in Python need in /dev/shm."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from conch_tools.check import Finding, Severity

Check = Callable[[Mapping[str, str | bytes]], list[Finding]]


def model(dims: str, batch: int = 8, more: str = "", backend: str = "python") -> str:
    return f"""\
backend: "{backend}"
max_batch_size: {batch}
input {{ name: "x" data_type: TYPE_FP32 dims: {dims} }}
output {{ name: "y" data_type: TYPE_FP32 dims: [ 1 ] }}
{more}"""


def test_a_batch_that_no_container_has_room_for_is_found(check: Check) -> None:
    (finding,) = check({"m/config.pbtxt": model("[ 3, 1024, 1024 ]"), "m/1/model.py": ""})
    assert (finding.code, finding.severity, finding.line) == ("SHM001", Severity.WARNING, 2)
    assert finding.what == "a batch of 8 holds 97 MiB, /dev/shm of a container 64 MiB by default"
    assert finding.cure.startswith("run the container with `--shm-size 193m`; in Kubernetes mount an emptyDir")


def test_batches_with_room_and_those_whose_size_nobody_knows_are_right(check: Check) -> None:
    for config in (model("[ 3, 1024, 1024 ]", batch=4), model("[ 3, -1, -1 ]"), model("[ 3, 512, 512 ]")):
        assert check({"m/config.pbtxt": config, "m/1/model.py": ""}) == []


def test_models_in_cpp_need_none(check: Check) -> None:
    plan = model("[ 3, 1024, 1024 ]", backend="tensorrt")
    assert check({"m/config.pbtxt": plan, "m/1/model.plan": ""}) == []


def test_instances_are_added_up_over_the_repository(check: Check, repository: Path) -> None:
    config = model("[ 3, 1024, 1024 ]", batch=1, more="instance_group [ { count: 2 }, { count: 1 } ]")
    assert check({"a/config.pbtxt": config, "a/1/model.py": ""}) == []
    (finding,) = check({"b/config.pbtxt": config, "b/1/model.py": ""})
    assert (finding.code, finding.file) == ("SHM002", repository)
    assert finding.what == "6 instances in Python need 74 MiB in /dev/shm, a container has 64 MiB by default"


def test_a_pythonbased_backend_counts_for_each_of_its_models(check: Check) -> None:
    config = model("[ 3, 1024, 1024 ]", batch=2, backend="echo")
    findings = check(
        {f"{name}/{file}": text for name in "abc" for file, text in (("config.pbtxt", config), ("1/", ""))}
    )
    assert [finding.code for finding in findings] == ["SHM002"]
