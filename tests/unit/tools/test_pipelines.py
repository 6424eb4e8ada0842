"""pipeline.toml: what is read, and what is said when it is wrong."""

from pathlib import Path

import pytest

from conch_tools.build.sources import describe_source, source_file, source_folder
from conch_tools.errors import BuildError, RepositoryError
from conch_tools.pipelines import Gates, circle_of_uses, load_pipeline, load_pipelines, models_of

SOUND = """
task = "text-classification"
description = "Mood."
[source]
package = "some-model"
[[samples]]
input = { text = "fine" }
expect = { label = "good" }
"""


def write(repository: Path, name: str, content: str) -> Path:
    folder = repository / name
    folder.mkdir(parents=True)
    (folder / "pipeline.toml").write_text(content, encoding="utf-8")
    return folder


def test_a_sound_file_is_read_with_its_name_and_folder(tmp_path: Path) -> None:
    pipeline = load_pipeline(write(tmp_path, "mood", SOUND))
    assert (pipeline.name, pipeline.task) == ("mood", "text-classification")
    assert pipeline.step("model") == "mood_model"
    assert pipeline.sample_inputs(pipeline.samples[0]) == {"text": "fine"}


def test_a_pipeline_that_uses_another_needs_no_source_of_its_own(tmp_path: Path) -> None:
    content = SOUND.replace("[source]", 'uses = ["other"]\n[source]').replace('package = "some-model"', "")
    pipeline = load_pipeline(write(tmp_path, "mood", content))
    assert not pipeline.source.is_named
    assert describe_source(pipeline) == {"uses": "other"}


FILE = SOUND.replace('package = "some-model"', 'file = "../models/model.onnx"')


def test_a_file_is_looked_for_from_the_pipeline_s_folder_and_told_by_its_hash(tmp_path: Path) -> None:
    pipeline = load_pipeline(write(tmp_path / "repository", "mood", FILE))
    with pytest.raises(BuildError, match=r"source\.file: there is no file"):
        describe_source(pipeline)
    model = tmp_path / "repository" / "models" / "model.onnx"
    model.parent.mkdir()
    model.write_bytes(b"first")
    assert source_file(pipeline) == model
    first = describe_source(pipeline)
    model.write_bytes(b"second")
    assert first["file"] == "../models/model.onnx"
    assert first["sha256"] != describe_source(pipeline)["sha256"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("task = ", "not readable as TOML"),
        (f"task = {'[' * 100_000}", "not readable as TOML"),
        (f"task = {'9' * 5000}", "not readable as TOML"),
        (f'name = "mood"\n{SOUND}', "name: take it out"),
        (f'folder = "."\n{SOUND}', "folder: take it out"),
        (SOUND.replace("text-classification", "poetry"), "task"),
        (SOUND.replace("package", "packege"), "source.packege"),
        (SOUND.replace('package = "some-model"', ""), "name an origin"),
        (SOUND.replace("[[samples]]", 'hub = "a/b"\n[[samples]]'), "name one origin, not hub and package"),
        (
            SOUND.replace("[[samples]]", 'mlflow = "models:/a/1"\n[[samples]]'),
            "name one origin, not package and mlflow",
        ),
        (SOUND.replace('package = "some-model"', 'mlflow = "a/1"'), "source.mlflow"),
        (SOUND.replace("some-model", "some/model"), "source.package"),
        (SOUND.replace("some-model", ""), "source.package"),
        (SOUND.split("[[samples]]")[0], "samples"),
        (SOUND + "\n[gates]\nminimum = 1.5", "gates.minimum"),
        (SOUND + "\n[gates]\nmax_abs_difference = inf", "gates.max_abs_difference"),
        (SOUND + "\n[gates]\nvariant = { max_abs_difference = inf }", "gates.variant.max_abs_difference"),
        (SOUND + "\n[gates]\nmaximum = { mase = inf }", "gates.maximum.mase"),
    ],
)
def test_a_fault_is_named_with_its_file_and_field(tmp_path: Path, content: str, said: str) -> None:
    folder = write(tmp_path, "mood", content)
    with pytest.raises(RepositoryError) as refused:
        load_pipeline(folder)
    assert said in str(refused.value)
    assert str(folder / "pipeline.toml") in str(refused.value)


def test_an_unknown_name_is_answered_with_the_nearest_one(tmp_path: Path) -> None:
    write(tmp_path, "sentiment", SOUND)
    with pytest.raises(RepositoryError, match="did you mean `sentiment`"):
        load_pipelines(tmp_path, ["sentimnt"])


def test_a_repository_without_pipelines_says_what_one_is(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="has no pipeline"):
        load_pipelines(tmp_path)


def test_only_the_named_pipelines_are_loaded(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        write(tmp_path, name, SOUND)
    assert [pipeline.name for pipeline in load_pipelines(tmp_path, ["three", "one"])] == ["one", "three"]


def test_the_pipelines_that_one_uses_come_with_it(tmp_path: Path) -> None:
    write(tmp_path, "mood", SOUND.replace("[source]", 'uses = ["meaning"]\n[source]'))
    write(tmp_path, "meaning", SOUND)
    write(tmp_path, "other", SOUND)
    assert [each.name for each in load_pipelines(tmp_path, ["mood"])] == ["meaning", "mood"]
    write(tmp_path, "lost", SOUND.replace("[source]", 'uses = ["meening"]\n[source]'))
    for only in (["lost"], []):
        with pytest.raises(RepositoryError, match=r"`meening` .*lost/pipeline\.toml.* did you mean `meaning`"):
            load_pipelines(tmp_path, only)


def using(*names: str) -> str:
    return SOUND.replace("[source]", f"uses = {list(names)}\n[source]")


def test_a_circle_of_pipelines_is_named_with_a_file_that_is_in_it(tmp_path: Path) -> None:
    write(tmp_path, "a", using("b"))
    first = write(tmp_path, "b", using("c"))
    write(tmp_path, "c", using("b"))
    with pytest.raises(RepositoryError) as refused:
        load_pipelines(tmp_path, ["a"])
    assert str(refused.value) == (
        f"{first / 'pipeline.toml'}: uses: `b` uses `c` uses `b`, in a circle: take one of them out"
    )


def test_a_pipeline_that_uses_itself_is_a_circle(tmp_path: Path) -> None:
    write(tmp_path, "a", using("a"))
    with pytest.raises(RepositoryError, match="`a` uses `a`, in a circle"):
        load_pipelines(tmp_path, ["a"])


def test_pipelines_that_use_the_same_one_are_no_circle(tmp_path: Path) -> None:
    for name, content in {"a": using("b", "c"), "b": using("c"), "c": SOUND}.items():
        write(tmp_path, name, content)
    assert [each.name for each in load_pipelines(tmp_path)] == ["a", "b", "c"]


def test_hidden_folders_are_no_pipelines_and_own_no_steps(tmp_path: Path) -> None:
    for name in ("mood", ".mood-old", ".git"):
        write(tmp_path, name, SOUND)
    assert [each.name for each in load_pipelines(tmp_path)] == ["mood"]
    with pytest.raises(RepositoryError, match=r"there is no pipeline `\.git`"):
        load_pipelines(tmp_path, [".git"])


def test_a_package_that_is_not_installed_is_named_with_its_file_and_field(tmp_path: Path) -> None:
    pipeline = load_pipeline(write(tmp_path, "mood", SOUND))
    said = (
        f"building `mood` failed: {tmp_path / 'mood' / 'pipeline.toml'}: source.package: some-model is not installed: "
        "correct the name, or install that package"
    )
    for ask in (describe_source, source_folder):
        with pytest.raises(BuildError) as refused:
            ask(pipeline)
        assert str(refused.value) == said


def test_a_way_back_is_found_whichever_way_it_takes() -> None:
    uses = {"a": ["x", "b"], "b": ["b", "c"], "c": ["a"]}
    assert circle_of_uses("a", uses) == ["a", "b", "c", "a"]
    assert circle_of_uses("b", uses) == ["b", "b"]
    assert circle_of_uses("x", uses) == []


def test_a_step_belongs_to_the_pipeline_with_the_longest_fitting_name(tmp_path: Path) -> None:
    for name in ("risk", "risk_vote"):
        write(tmp_path, name, SOUND)
    for name in ("risk", "risk_model", "risk_vote", "risk_vote_join"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "config.pbtxt").touch()
    risk, vote = load_pipelines(tmp_path)
    assert (risk.models, vote.models) == (["risk_model"], ["risk_vote_join"])
    assert models_of([risk, vote]) == ["risk", "risk_model", "risk_vote", "risk_vote_join"]


def test_a_table_is_sent_as_json_and_an_image_as_its_file(tmp_path: Path) -> None:
    content = SOUND.replace('{ text = "fine" }', '{ features = { age = 4 }, image = "seven.png", labels = ["a", "b"] }')
    folder = write(tmp_path, "mood", content)
    (folder / "seven.png").write_bytes(b"png")
    pipeline = load_pipeline(folder)
    assert pipeline.sample_inputs(pipeline.samples[0]) == {
        "features": '{"age": 4}',
        "image": b"png",
        "labels": ["a", "b"],
    }


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ({"f1": 0.8, "mase": 0.9}, None),
        ({"f1": 0.79, "mase": 0.5}, "f1 on held-out data is 0.7900, its gate is at least 0.8"),
        ({"f1": 0.81, "mase": 0.91}, "mase on held-out data is 0.9100, its gate is at most 0.9"),
        ({"f1": float("nan"), "mase": 0.5}, "f1 on held-out data is nan"),
        ({"f1": 0.9}, "its gates name `mase`, but measured are f1"),
    ],
)
def test_a_figure_on_the_wrong_side_of_its_gate_or_not_measured_is_named(
    figures: dict[str, float], said: str | None
) -> None:
    problem = Gates(minimum={"f1": 0.8}, maximum={"mase": 0.9}).missed_by(figures)
    assert problem is None if said is None else said in str(problem)


TABLE = """
[features]
age = { type = "numeric", minimum = 0, maximum = 120, default = 40 }
colour = { type = "categorical", categories = ["red", "green"] }

[members]
linear = 2
forest = 0.5
"""


def test_features_keep_their_order_and_members_their_weights(tmp_path: Path) -> None:
    pipeline = load_pipeline(write(tmp_path, "mood", SOUND + TABLE))
    assert list(pipeline.features) == ["age", "colour"]
    assert [feature.default for feature in pipeline.features.values()] == [40, None]
    assert pipeline.members == {"linear": 2, "forest": 0.5}


@pytest.mark.parametrize(
    ("sound", "spoilt", "said"),
    [
        ('"numeric"', '"number"', "features.age"),
        ("minimum = 0", "minimum = 121", "must be in this order"),
        ("default = 40", "default = -1", "must be in this order"),
        ("maximum = 120", "maximum = inf", "finite number"),
        ('["red", "green"]', '["red", "red"]', "a category is named twice"),
        ('["red", "green"]', '["red"]', "at least 2 items"),
        ('["red", "green"]', '["red", "green"], default = "blue"', "'blue' is not one of the categories"),
        ("forest = 0.5", "forest = -0.5", "members.forest"),
    ],
)
def test_a_schema_that_contradicts_itself_is_refused(tmp_path: Path, sound: str, spoilt: str, said: str) -> None:
    assert sound in TABLE
    folder = write(tmp_path, "mood", SOUND + TABLE.replace(sound, spoilt))
    with pytest.raises(RepositoryError, match=said):
        load_pipeline(folder)
