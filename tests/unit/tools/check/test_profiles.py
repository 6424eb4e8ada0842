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
    assert finding.cure.startswith("remove `kind`, and write it into configs/gpu.pbtxt for `--profile gpu`; or check ")


@pytest.mark.parametrize(("is_here", "codes"), [(True, []), (False, ["CFG018"])])
def test_repositories_of_others_may_want_gpus_that_are_here(
    check: Check, monkeypatch: pytest.MonkeyPatch, is_here: bool, codes: list[str]
) -> None:
    monkeypatch.setattr("conch_tools.check.run.gpu_is_here", lambda: is_here)
    assert [each.code for each in check({"m/config.pbtxt": GPU, "m/1/": ""})] == codes


ENSEMBLE = """\
platform: "ensemble"
max_batch_size: 8
input { name: "x" data_type: TYPE_FP32 dims: 4 }
output { name: "y" data_type: TYPE_FP32 dims: 4 }
ensemble_scheduling { step { model_name: "m" model_version: -1
  input_map { key: "x" value: "x" } output_map { key: "y" value: "y" } } }
"""
BATCHES = ECHO + "max_batch_size: %d\n"


def ensemble_of(model: str, **profiles: str) -> dict[str, str]:
    configs = {f"m/configs/{name}.pbtxt": text for name, text in profiles.items()}
    return {"e/config.pbtxt": ENSEMBLE, "e/1/": "", "m/config.pbtxt": model, "m/1/": "", **configs}


def test_a_fault_that_a_profile_makes_elsewhere_names_the_profile(check: Check, repository: Path) -> None:
    findings = check(ensemble_of(BATCHES % 8, cpu=BATCHES % 8, small=BATCHES % 4, tiny=BATCHES % 2))
    assert {(each.code, each.profile) for each in findings} == {("ENS033", "small"), ("ENS033", "tiny")}
    assert {each.file for each in findings} == {repository / "e" / "config.pbtxt"}


def test_a_fault_of_every_profile_is_told_once_and_of_none(check: Check) -> None:
    (finding,) = check(ensemble_of(BATCHES % 4, cpu=BATCHES % 4, gpu=BATCHES % 4))
    assert (finding.code, finding.profile) == ("ENS033", None)


def test_the_same_fault_in_two_files_is_told_of_both(check: Check) -> None:
    findings = check({"m/config.pbtxt": BATCHES % -1, "m/configs/gpu.pbtxt": BATCHES % -1, "m/1/": ""})
    assert [(each.code, each.file.name, each.profile) for each in findings] == [
        ("CFG008", "config.pbtxt", None),
        ("CFG008", "gpu.pbtxt", None),
    ]
