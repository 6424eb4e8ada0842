"""Rules about models of the project's own backends: parameters, files, and the models that they call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from conch_tools.check import Finding, Severity

Check = Callable[[Mapping[str, str | bytes]], list[Finding]]

LABELS_CONFIG = """\
backend: "class_labels"
max_batch_size: 8
input { name: "logits" data_type: TYPE_FP32 dims: %s }
output { name: "label" data_type: TYPE_STRING dims: -1 }
output { name: "score" data_type: TYPE_FP32 dims: -1 }
"""
CLASSIFIER = """\
backend: "echo"
max_batch_size: 8
input { name: "input_ids" data_type: TYPE_INT32 dims: -1 }
input { name: "length" data_type: TYPE_INT32 dims: 1 }
input { name: "span" data_type: TYPE_INT32 dims: -1 }
output { name: "logits" data_type: TYPE_FP32 dims: [ -1, 2 ] }
"""
ENTITIES = """\
backend: "token_entities"
max_batch_size: 8
input { name: "text" data_type: TYPE_STRING dims: 1 }
output { name: "entities" data_type: TYPE_STRING dims: 1 }
parameters { key: "model" value { string_value: "classifier" } }
parameters { key: "max_rows" value { string_value: "8" } }
"""


def labels(text: str | bytes, dims: str = "2", more: str = "") -> dict[str, str | bytes]:
    return {"m/config.pbtxt": LABELS_CONFIG % dims + more, "m/1/labels.txt": text}


def parameter(name: str, value: str) -> str:
    return f'parameters {{ key: "{name}" value {{ string_value: "{value}" }} }}\n'


@pytest.fixture
def tokenizer_json() -> str:
    return str(Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]")).to_str())


@pytest.fixture
def entities(tokenizer_json: str) -> dict[str, str | bytes]:
    """A step that calls a token classifier, both sound; of `echo` only the configuration counts here."""
    return {
        "entities/config.pbtxt": ENTITIES,
        "entities/1/labels.txt": "O\nB-x\n",
        "entities/1/tokenizer.json": tokenizer_json,
        "classifier/config.pbtxt": CLASSIFIER.replace("echo", "python"),
        "classifier/1/model.py": "",
    }


def test_sound_steps_give_no_finding(check_ours: Check, entities: dict[str, str | bytes]) -> None:
    assert check_ours({**entities, **labels("no\nyes\n", more=parameter("activation", "sigmoid"))}) == []


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", "labels.txt must name one class a line, without empty lines"),
        ("no\n\nyes\n", "labels.txt must name one class a line, without empty lines"),
        (b"no\n\xff\n", "labels.txt is not UTF-8"),
    ],
)
def test_labels_that_the_step_refuses_are_an_error(
    check_ours: Check, repository: Path, content: str | bytes, what: str
) -> None:
    (finding,) = check_ours(labels(content))
    assert (finding.code, finding.severity) == ("STP006", Severity.ERROR)
    assert finding.file == repository / "m" / "1" / "labels.txt"
    assert finding.what.startswith(what)


def test_missing_labels_are_an_error_that_a_build_cures(check_ours: Check) -> None:
    (finding,) = check_ours({"m/config.pbtxt": LABELS_CONFIG % "2", "m/1/": ""})
    assert (finding.code, finding.what, finding.cure) == ("STP006", "labels.txt is missing", "run `conch build`")


def test_a_label_that_stands_there_twice_is_a_warning(check_ours: Check) -> None:
    (finding,) = check_ours(labels("no\nyes\nno\n", dims="3"))
    assert (finding.code, finding.severity, finding.line) == ("STP007", Severity.WARNING, 1)
    assert finding.what == "label `no` stands there 2 times"


def test_labels_are_as_many_as_the_configured_classes(check_ours: Check) -> None:
    (finding,) = check_ours(labels("no\nyes\n", dims="3"))
    assert (finding.code, finding.severity) == ("STP008", Severity.ERROR)
    assert finding.what == "labels.txt names 2 classes, but input `logits` has 3"


def test_labels_are_as_many_as_the_classes_that_an_ensemble_feeds_to_them(check_ours: Check) -> None:
    model = """\
backend: "python" max_batch_size: 8
input { name: "x" data_type: TYPE_FP32 dims: 4 } output { name: "y" data_type: TYPE_FP32 dims: 3 }
"""
    ensemble = """\
platform: "ensemble" max_batch_size: 8
input { name: "x" data_type: TYPE_FP32 dims: 4 } output { name: "label" data_type: TYPE_STRING dims: -1 }
ensemble_scheduling { step [
  { model_name: "net" model_version: -1 input_map { key: "x" value: "x" } output_map { key: "y" value: "z" } },
  { model_name: "m" model_version: -1 input_map { key: "logits" value: "z" }
    output_map { key: "label" value: "label" } } ] }
"""
    files = {"net/config.pbtxt": model, "net/1/model.py": "", "e/config.pbtxt": ensemble, "e/1/": ""}
    assert check_ours({**files, **labels("no\nyes\nmaybe\n", dims="-1")}) == []
    (finding,) = check_ours(labels("no\nyes\n", dims="-1"))
    assert (finding.code, finding.what) == ("STP008", "labels.txt names 2 classes, but `y` of `net` has 3")


def test_labels_are_as_many_as_the_classes_of_the_called_model(
    check_ours: Check, entities: dict[str, str | bytes]
) -> None:
    (finding,) = check_ours({**entities, "entities/1/labels.txt": "O\nB-x\nI-x\n"})
    assert finding.what == "labels.txt names 3 classes, but output `logits` of `classifier` has 2"


@pytest.mark.parametrize(
    ("before", "after", "line", "what"),
    [
        ('"8"', '"many"', 6, "parameter `max_rows` is 'many', but must be a whole number above zero"),
        ('"8"', '"0"', 6, "parameter `max_rows` is '0', but must be a whole number above zero"),
        ('key: "model"', 'key: "aggregation_strategy"', 5, "'classifier', but must be one of none, simple, first"),
        (ENTITIES.splitlines()[4], "", 1, "parameter `model` is missing: it must be the name of the token classifier"),
    ],
)
def test_a_parameter_that_the_step_refuses_is_an_error(
    check_ours: Check, entities: dict[str, str | bytes], before: str, after: str, line: int, what: str
) -> None:
    findings = check_ours({**entities, "entities/config.pbtxt": ENTITIES.replace(before, after)})
    (finding,) = (each for each in findings if what in each.what)
    assert (finding.code, finding.severity, finding.line) == ("STP001", Severity.ERROR, line)


def test_a_parameter_that_the_step_does_not_know_is_a_warning(check_ours: Check) -> None:
    (finding,) = check_ours(labels("no\nyes\n", more=parameter("activaton", "sigmoid")))
    assert (finding.code, finding.severity, finding.line) == ("STP002", Severity.WARNING, 6)
    assert finding.cure == "did you mean `activation`?"


def test_parameters_of_other_backends_are_theirs(check_ours: Check) -> None:
    config = 'backend: "python"\n' + parameter("FORCE_CPU_ONLY_INPUT_TENSORS", "no")
    assert check_ours({"m/config.pbtxt": config, "m/1/model.py": ""}) == []


def test_a_called_model_is_in_the_repository(check_ours: Check, entities: dict[str, str | bytes]) -> None:
    (finding,) = check_ours({**entities, "entities/config.pbtxt": ENTITIES.replace('"classifier"', '"clasifier"')})
    assert (finding.code, finding.severity, finding.line) == ("STP003", Severity.ERROR, 5)
    assert finding.cure == "did you mean `classifier`?"


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        ('"span"', '"spam"', "`classifier` has no input `span`, which this step sends"),
        ('"span"', '"spam"', "`classifier` needs input `spam`, which this step does not send"),
        (
            '"length" data_type: TYPE_INT32',
            '"length" data_type: TYPE_INT64',
            "is TYPE_INT64, this step sends TYPE_INT32",
        ),
        ('"logits"', '"scores"', "`classifier` has no output `logits`, which this step reads"),
    ],
)
def test_a_called_model_has_the_tensors_of_the_call(
    check_ours: Check, entities: dict[str, str | bytes], before: str, after: str, what: str
) -> None:
    config = CLASSIFIER.replace("echo", "python").replace(before, after)
    findings = check_ours({**entities, "classifier/config.pbtxt": config})
    (finding,) = (each for each in findings if what in each.what)
    assert (finding.code, finding.file.parent.name, finding.line) == ("STP004", "entities", 5)


@pytest.mark.parametrize(
    ("size", "cure"),
    [
        ("4", "set `max_rows` to 4, or raise max_batch_size of `classifier`"),
        ("0", "let `classifier` batch: set its max_batch_size above 0"),
    ],
)
def test_a_call_has_no_more_rows_than_the_model_takes(
    check_ours: Check, entities: dict[str, str | bytes], size: str, cure: str
) -> None:
    config = CLASSIFIER.replace("echo", "python").replace("max_batch_size: 8", f"max_batch_size: {size}")
    (finding,) = check_ours({**entities, "classifier/config.pbtxt": config})
    assert (finding.code, finding.line, finding.cure) == ("STP005", 6, cure)
    assert finding.what == f"`max_rows` is 8, but `classifier` takes batches of {size} at most"


@pytest.mark.parametrize("content", ["", "{}", "[" * 100_000])
def test_a_tokenizer_that_is_none_is_an_error(
    check_ours: Check, entities: dict[str, str | bytes], content: str
) -> None:
    (finding,) = check_ours({**entities, "entities/1/tokenizer.json": content})
    assert (finding.code, finding.file.name) == ("STP006", "tokenizer.json")
    assert finding.what.startswith("tokenizer.json is not a tokenizer")


@pytest.mark.parametrize(
    ("backend", "file"),
    [
        ("image_decoder", "preprocessor_config.json"),
        ("soft_vote", "members.json"),
        ("tabular_features", "schema.json"),
        ("series_window", None),
    ],
)
@pytest.mark.parametrize("content", ["", "[]", "[" * 100_000])
def test_other_files_are_judged_by_their_steps(check_ours: Check, backend: str, file: str | None, content: str) -> None:
    config = f"""\
backend: "{backend}" max_batch_size: 8
input {{ name: "x" data_type: TYPE_FP32 dims: 1 }} output {{ name: "y" data_type: TYPE_FP32 dims: 1 }}
"""
    findings = check_ours({"m/config.pbtxt": config, "m/1/": "", **({f"m/1/{file}": content} if file else {})})
    assert [(each.code, each.file.name) for each in findings] == ([("STP006", file)] if file else [])


def test_a_called_model_of_another_pipeline_must_be_used(check_ours: Check, entities: dict[str, str | bytes]) -> None:
    toml = """\
task = "token-classification"
description = "Names."
uses = [%s]
[source]
package = "p"
[[samples]]
input.text = "x"
expect.entities = []
"""
    files = {
        **{name.replace("entities/", "names_entities/"): content for name, content in entities.items()},
        "names/pipeline.toml": toml % '"classifier"',
        "classifier/pipeline.toml": toml % "",
    }
    assert [each.code for each in check_ours(files) if each.code.startswith("STP")] == []
    findings = check_ours({"names/pipeline.toml": toml % ""})
    (finding,) = (each for each in findings if each.code.startswith("STP"))
    assert (finding.code, finding.line) == ("STP009", 5)
    assert finding.cure == 'add `uses = ["classifier"]` to the pipeline.toml of `names`'
