"""Rules about a model's folder: versions, model files and label files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from conch_tools.check import Finding, Severity

Check = Callable[[Mapping[str, str | bytes]], list[Finding]]

ECHO = """\
backend: "echo"
input { name: "x" data_type: TYPE_FP32 dims: 4 }
output { name: "y" data_type: TYPE_FP32 dims: 4 }
"""
PYTHON = ECHO.replace('backend: "echo"', 'backend: "python"')


def model(config: str, *paths: str, name: str = "m") -> dict[str, str | bytes]:
    return {f"{name}/config.pbtxt": config, **{f"{name}/{path}": "" for path in paths}}


@pytest.mark.parametrize(
    "files",
    [
        model(ECHO, "1/"),
        model(ECHO, "0/"),
        {**model(ECHO, "1/"), "m/configs/gpu.pbtxt": ECHO},
        model(ECHO, "3/", "3.old/"),
        model(ECHO, "1/", "5/", "notes/"),
        model(ECHO + "version_policy { specific { versions: [ 1 ] } }", "1/", "2/"),
        model(ECHO, "1/", name="a-b_c.d~1"),
        model(ECHO + "version_policy { all { } }", "1/", "2/"),
        model(PYTHON, "1/model.py", "0.bak/"),
        model(PYTHON + 'default_model_filename: "serve.py"', "1/serve.py"),
        model(PYTHON, "1/", "2/model.py"),
        model('backend: "tensorrt" cc_model_filenames { key: "9.0" value: "h.plan" }', "1/h.plan"),
        {"m/1/model.py": ""},
    ],
)
def test_sound_folders_give_no_finding(check: Check, files: dict[str, str | bytes]) -> None:
    assert check(files) == []


def test_a_folder_that_is_no_model_is_a_warning(check: Check, repository: Path) -> None:
    [finding] = check({"notes/readme.txt": ""})
    assert (finding.code, finding.severity, finding.file) == (
        "FIL001",
        Severity.WARNING,
        repository / "notes",
    )
    assert finding.line is None


@pytest.mark.parametrize("paths", [[], ["01/"], ["v1/"]])
def test_a_model_without_a_version_is_refused(check: Check, paths: list[str]) -> None:
    [finding] = check(model(ECHO, *paths))
    assert (finding.code, finding.cure) == ("FIL002", "add the folder `1` and put the model's files there")


def test_a_version_of_an_ensemble_may_be_empty_but_must_be_there(check: Check) -> None:
    findings = check(model('platform: "ensemble"'))
    assert [finding.code for finding in findings] == ["FIL002", "ENS001"]
    assert ".gitkeep" in findings[0].cure


@pytest.mark.parametrize("policy", ["specific { versions: [ 5 ] }", "latest { num_versions: 0 }"])
def test_a_policy_that_selects_nothing_is_refused(check: Check, policy: str) -> None:
    [finding] = check(model(ECHO + f"version_policy {{ {policy} }}", "1/"))
    assert (finding.code, finding.line, finding.cure) == ("FIL003", 4, "choose among `1`")


def test_a_folder_that_triton_takes_for_a_version_is_a_warning(check: Check, repository: Path) -> None:
    [finding] = check(model(ECHO, "1/", "3.old/"))
    assert (finding.code, finding.severity) == ("FIL004", Severity.WARNING)
    assert finding.file == repository / "m" / "3.old"


def test_a_version_that_64_bits_do_not_hold_ends_the_server(check: Check, repository: Path) -> None:
    [finding] = check(model(ECHO, "1/", f"{2**63}/"))
    assert (finding.code, finding.file) == ("FIL011", repository / "m" / str(2**63))
    assert check(model(ECHO, f"{2**63 - 1}/", name="largest")) == [finding]


def test_labels_lie_below_the_folder_even_if_their_name_begins_with_a_slash(check: Check) -> None:
    labelled = ECHO[: ECHO.index("output")] + 'output { name: "y" data_type: TYPE_FP32 dims: -1 label_filename: "%s" }'
    [finding] = check(model(labelled % "/etc/hostname", "1/"))
    assert finding.code == "FIL006"
    assert check(model(labelled % "/labels.txt", "1/", "labels.txt")) == []


def test_its_version_lacks_the_model_file(check: Check) -> None:
    findings = check(model(PYTHON, "1/model.py", "3.old/model.py"))
    assert [(finding.code, finding.file.name) for finding in findings] == [
        ("FIL005", "3"),
        ("FIL004", "3.old"),
    ]


def test_a_link_to_a_model_file_that_is_gone_is_not_offered_as_the_file_that_is_meant(
    check: Check, repository: Path
) -> None:
    (repository / "m" / "1").mkdir(parents=True)
    (repository / "m" / "1" / "model.py").symlink_to("gone.py")
    [finding] = check(model(PYTHON, "1/"))
    assert (finding.code, finding.cure) == ("FIL005", "put it there, or name it in `default_model_filename`")


@pytest.mark.parametrize(
    ("config", "path", "what"),
    [
        (PYTHON, "1/", "`model.py` is missing"),
        (PYTHON, "1/modle.py", "`model.py` is missing"),
        (PYTHON + 'default_model_filename: "serve.py"', "1/model.py", "`serve.py` is missing"),
        ('backend: "onnxruntime"', "1/", "`model.onnx` is missing"),
        ('backend: "tensorrt"', "1/model.onnx", "`model.plan` is missing"),
    ],
)
def test_a_version_without_its_model_file_is_refused(
    check: Check, repository: Path, config: str, path: str, what: str
) -> None:
    [finding] = check(model(config, path))
    assert (finding.code, finding.file) == ("FIL005", repository / "m" / "1")
    assert what in finding.what


def test_a_misspelt_model_file_is_offered(check: Check) -> None:
    [finding] = check(model(PYTHON, "1/modle.py"))
    assert finding.cure == "did you mean `modle.py`?"


def test_every_served_version_needs_its_file_and_others_do_not(check: Check) -> None:
    policy = "version_policy { latest { num_versions: 2 } }"
    findings = check(model(PYTHON + policy, "1/", "2/", "3/model.py"))
    assert [(finding.code, finding.file.name) for finding in findings] == [("FIL005", "2")]


def test_a_policy_that_names_a_version_in_vain_is_a_warning(check: Check) -> None:
    [finding] = check(model(ECHO + "version_policy { specific { versions: [ 1,\n7 ] } }", "1/", "2/"))
    assert (finding.code, finding.severity, finding.line) == ("FIL007", Severity.WARNING, 5)
    assert finding.what == "the version policy names version 7, which is not there"
    assert finding.cure == "add the folder, or choose among `1` and `2`"


@pytest.mark.parametrize(("name", "said"), [("a b", "`blank`"), ("v1 (best)", "`blank`, `(` and `)`"), ("a&b", "`&`")])
def test_a_name_that_a_shell_reads_is_refused(check: Check, repository: Path, name: str, said: str) -> None:
    first, second = check(model(ECHO, "1/", name=name))
    assert (first.code, first.severity, first.file) == ("FIL008", Severity.ERROR, repository / name)
    assert (second.code, second.severity) == ("FIL009", Severity.WARNING)
    assert first.what == second.what == f"the model's name has {said}"
    assert first.cure == second.cure and " " not in first.cure.split("`")[1]


@pytest.mark.parametrize("name", ["größe", "a+b", "a%20b"])
def test_a_name_that_urls_must_code_is_a_warning(check: Check, name: str) -> None:
    assert [finding.code for finding in check(model(ECHO, "1/", name=name))] == ["FIL009"]


def test_a_compiled_backend_minds_no_shell(check: Check) -> None:
    findings = check(model('backend: "tensorrt"', "1/model.plan", name="a b"))
    assert [finding.code for finding in findings] == ["FIL009"]


def test_label_files_lie_in_the_models_folder(check: Check) -> None:
    labelled = ECHO.replace('"y"', '"y" label_filename: "labels.txt"')
    assert check({**model(labelled, "1/", name="sound"), "sound/labels.txt": "a\nb\nc\nd\n"}) == []
    [finding] = check(model(labelled, "1/labels.txt"))
    assert (finding.code, finding.line) == ("FIL006", 3)


@pytest.mark.parametrize("name", ["speech", "speech_model"])
def test_missing_files_of_a_pipeline_are_cured_by_its_build(check: Check, name: str) -> None:
    pipelines = {"speech/pipeline.toml": "", "speech_mod/pipeline.toml": "", "speech/1/model.py": ""}
    findings = check({**pipelines, **model(PYTHON, "2/", name=name)})
    assert [finding.cure for finding in findings if finding.code == "FIL005"] == ["run `conch build speech`"]


def test_a_configuration_in_a_version_folder_is_an_error(check: Check, repository: Path) -> None:
    findings = check({"m/1/config.pbtxt": ECHO})
    assert [(finding.code, finding.file) for finding in findings] == [
        ("BAK001", repository / "m"),
        ("FIL010", repository / "m/1/config.pbtxt"),
    ]
    assert check({"m/config.pbtxt": ECHO, "m/1/config.pbtxt": ECHO}) == []
