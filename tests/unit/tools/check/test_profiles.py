"""Hardware profiles: a configuration in configs/ is checked as config.pbtxt is, in its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from conch_tools.check import Finding, check_repository

Check = Callable[[Mapping[str, str | bytes]], list[Finding]]

ECHO = """\
backend: "echo"
input { name: "x" data_type: TYPE_FP32 dims: 4 }
output { name: "y" data_type: TYPE_FP32 dims: 4 }
"""
GPU = ECHO + "instance_group { kind: KIND_GPU }\n"


def test_sound_profiles_give_no_finding(check: Check) -> None:
    assert check({"m/config.pbtxt": ECHO, "m/configs/gpu.pbtxt": GPU, "m/1/": ""}) == []


def test_a_profile_that_does_not_parse_is_named_with_its_line(check: Check, repository: Path) -> None:
    (finding,) = check({"m/config.pbtxt": ECHO, "m/configs/gpu.pbtxt": GPU + "max_batchsize: 3", "m/1/": ""})
    assert (finding.code, finding.line) == ("CFG001", 5)
    assert finding.file == repository / "m" / "configs" / "gpu.pbtxt"
    assert "did you mean `max_batch_size`?" in finding.cure


def test_one_profile_may_be_looked_at_alone(check: Check, repository: Path, backends: Path) -> None:
    check({"m/config.pbtxt": "oops", "m/configs/gpu.pbtxt": GPU, "m/1/": ""})
    assert check_repository(repository, backends, profiles=["gpu"]) == []
    assert [each.code for each in check_repository(repository, backends, profiles=[None])] == ["CFG001"]


def test_models_without_the_profile_keep_their_configuration(check: Check) -> None:
    files = {"m/config.pbtxt": ECHO, "m/configs/gpu.pbtxt": GPU, "m/1/": "", "n/config.pbtxt": "oops", "n/1/": ""}
    (finding,) = check(files)
    assert (finding.code, finding.file.parent.name) == ("CFG001", "n")


@pytest.mark.parametrize("name", ["config.pbtxt", "configs/cpu.pbtxt"])
def test_a_gpu_has_no_place_where_there_is_none(check: Check, name: str) -> None:
    files = {"m/pipeline.toml": "", "m/config.pbtxt": ECHO, f"m/{name}": GPU, "m/1/": ""}
    (finding,) = (each for each in check(files) if each.code == "CFG018")
    assert finding.place.file.name == Path(name).name and finding.line == 4
    assert finding.cure == "remove `kind`, and write it into configs/gpu.pbtxt for `--profile gpu`"


def test_repositories_of_others_may_want_gpus(check: Check) -> None:
    assert check({"m/config.pbtxt": GPU, "m/1/": ""}) == []
