"""What a user can bring that is no model for the task: one clear message, and nothing is left in the repository."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conch_tools.build.builder import builder_of
from conch_tools.errors import BuildError
from conch_tools.new.questions import answers
from conch_tools.new.run import new_pipeline
from conch_tools.pipelines import Task, load_pipeline
from conch_tools.settings import Settings
from small_text_models import POSITIONS, save_small_model, small_tokenizer

pytestmark = pytest.mark.usefixtures("in_this_process")

LABELS = ["good", "bad"]
New = Callable[[Path, Task], list[Path]]


@pytest.fixture
def new(settings: Settings) -> New:
    """`conch new stars` with a source."""

    def add(source: Path, task: Task) -> list[Path]:
        return new_pipeline(settings, answers("stars", {"task": task, "source": str(source)}, None))

    return add


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    return save_small_model(tmp_path / "source", "bert", "SequenceClassification", LABELS)


def assert_refused(new: New, settings: Settings, source: Path, task: Task, said: str) -> None:
    before = set(settings.repository.rglob("*"))
    with pytest.raises(BuildError, match=said) as refused:
        new(source, task)
    assert "\n" not in str(refused.value)
    assert set(settings.repository.rglob("*")) == before
    assert not settings.state.exists()


def test_an_id_while_the_hub_cannot_be_reached(
    new: New, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    said = "HF_HUB_OFFLINE is set and owner/none is not in the hub's cache: unset it, or use folder"
    assert_refused(new, settings, Path("owner/none"), "fill-mask", said)


KINDS: dict[Task, str] = {
    "text-classification": "is no sequence classifier: it has no weights for classifier.bias",
    "zero-shot-classification": "is no sequence classifier: it has no weights for classifier.bias",
    "token-classification": "is no token classifier: it has no weights for classifier.bias",
    "question-answering": "is no model for question answering: it has no weights for qa_outputs.bias",
    "fill-mask": r"is no masked language model: it has no weights for cls.predictions.bias, .* and 3 more",
}


@pytest.mark.parametrize("task", KINDS)
def test_an_encoder_without_the_head_of_the_task(new: New, settings: Settings, tmp_path: Path, task: Task) -> None:
    source = save_small_model(tmp_path / "source", "bert", None, ["entailment", "other"])
    assert_refused(new, settings, source, task, KINDS[task])


def test_an_encoder_that_lacks_only_what_no_embedding_reads(new: New, tmp_path: Path) -> None:
    new(save_small_model(tmp_path / "source", "bert", "MaskedLM"), "feature-extraction")


def test_a_folder_without_weights(new: New, settings: Settings, classifier: Path) -> None:
    (classifier / "model.safetensors").unlink()
    said = f"{classifier} has no weights: model.safetensors is missing, which save_pretrained writes"
    assert_refused(new, settings, classifier, "text-classification", said)


def test_a_folder_without_a_tokenizer(new: New, settings: Settings, classifier: Path) -> None:
    for file in classifier.glob("tokenizer*"):
        file.unlink()
    said = f"{classifier} has no tokenizer: none of .*vocab.txt"
    assert_refused(new, settings, classifier, "text-classification", said)


def test_a_tokenizer_that_is_damaged(new: New, settings: Settings, classifier: Path) -> None:
    (classifier / "tokenizer.json").write_text('{"model": ')
    said = rf"{classifier} has no fast tokenizer \(tokenizer.json\): "
    assert_refused(new, settings, classifier, "text-classification", said)


def test_a_tokenizer_that_is_written_in_python(new: New, settings: Settings, classifier: Path) -> None:
    for file in classifier.glob("tokenizer*"):
        file.unlink()
    (classifier / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CTRLTokenizer"}))
    (classifier / "vocab.json").write_text(json.dumps({"<unk>": 0}))
    (classifier / "merges.txt").write_text("#version: 0.2\n")
    said = rf"{classifier} has no fast tokenizer \(tokenizer.json\)"
    assert_refused(new, settings, classifier, "text-classification", said)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "t5"}, "its source is of the kind t5: this task takes encoders with a limit of tokens"),
        ({"model_type": "frobnicate"}, "transformers cannot read .*config.json: .*frobnicate"),
    ],
)
def test_an_architecture_that_no_text_pipeline_is_built_of(
    new: New, settings: Settings, classifier: Path, config: dict[str, Any], said: str
) -> None:
    (classifier / "config.json").write_text(json.dumps(config))
    assert_refused(new, settings, classifier, "text-classification", said)


def test_a_regression_has_no_classes_to_name(new: New, settings: Settings, tmp_path: Path) -> None:
    source = save_small_model(
        tmp_path / "source", "bert", "SequenceClassification", ["stars"], problem_type="regression"
    )
    assert_refused(new, settings, source, "text-classification", "its source is made for regression")


def test_a_classifier_without_a_class_called_entailment(new: New, settings: Settings, classifier: Path) -> None:
    said = "its source has no class called entailment but bad, good"
    assert_refused(new, settings, classifier, "zero-shot-classification", said)


def test_layers_that_their_library_cannot_load(new: New, settings: Settings, tmp_path: Path) -> None:
    source = save_small_model(tmp_path / "source", "bert", None)
    kinds = ["sentence_transformers.models.Transformer", "sentence_transformers.models.Pooling"]
    (source / "modules.json").write_text(json.dumps([{"type": kind} for kind in kinds]))
    said = f"sentence-transformers cannot load {source}: KeyError: 'path'"
    assert_refused(new, settings, source, "feature-extraction", said)


def test_a_tokenizer_without_a_mask(new: New, settings: Settings, tmp_path: Path) -> None:
    source = save_small_model(tmp_path / "source", "modernbert", "MaskedLM")
    tokenizer = small_tokenizer("modernbert")
    tokenizer.mask_token = None
    tokenizer.save_pretrained(source)
    assert_refused(new, settings, source, "fill-mask", f"the tokenizer in {source} has no mask token")


@pytest.mark.parametrize(
    ("task", "head", "family"),
    [
        ("text-classification", "SequenceClassification", "roberta"),
        ("token-classification", "TokenClassification", "mpnet"),
        ("question-answering", "QuestionAnswering", "bert"),
        ("zero-shot-classification", "SequenceClassification", "xlm-roberta"),
        ("feature-extraction", None, "roberta"),
        ("fill-mask", "MaskedLM", "albert"),
    ],
)
def test_more_tokens_than_the_model_has_positions_for(
    new: New, tmp_path: Path, task: Task, head: str | None, family: str
) -> None:
    labels = [] if head in (None, "MaskedLM", "QuestionAnswering") else ["entailment", "other"]
    folder, *steps = new(save_small_model(tmp_path / "source", family, head, labels), task)
    builder_of(load_pipeline(folder))
    for file in (folder / "pipeline.toml", *(step / "config.pbtxt" for step in steps)):
        raised = re.sub(rf"(max_tokens\D*){POSITIONS}\b", rf"\g<1>{POSITIONS + 1}", file.read_text())
        file.write_text(raised)
    with pytest.raises(BuildError, match=f"max_tokens is {POSITIONS + 1}, but its source takes {POSITIONS}"):
        builder_of(load_pipeline(folder))


def as_shards(folder: Path) -> None:
    """The weights in two files, as a large model has them."""
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="60KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 1


def a_shard_is_missing(folder: Path) -> None:
    as_shards(folder)
    (folder / sorted(path.name for path in folder.glob("model-*"))[0]).unlink()


def a_shard_is_cut_off(folder: Path) -> None:
    as_shards(folder)
    os.truncate(sorted(folder.glob("model-*"))[-1], 3000)


def a_pointer_of_git(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")


def a_page_of_a_proxy(folder: Path) -> None:
    (folder / "model.safetensors").write_text("<html>Log in to go on</html>")


def a_pickle_alone(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def an_adapter_alone(folder: Path) -> None:
    (folder / "config.json").rename(folder / "adapter_config.json")


def of_config(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **changes}))

    return change


def code_of_its_own(folder: Path) -> None:
    (folder / "modeling_mine.py").write_text("raise SystemExit('this was run')")
    mine = {"AutoConfig": "modeling_mine.Config", "AutoModelForSequenceClassification": "modeling_mine.Model"}
    of_config(model_type="mine", auto_map=mine)(folder)


def a_tokenizer_of_its_own(folder: Path) -> None:
    (folder / "tokenization_mine.py").write_text("raise SystemExit('this was run')")
    mine = {"auto_map": {"AutoTokenizer": ["tokenization_mine.Mine", None]}, "tokenizer_class": "MineTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(mine))
    (folder / "tokenizer.json").unlink()


def cut(name: str, length: int) -> Callable[[Path], None]:
    return lambda folder: os.truncate(folder / name, length)


def a_list(folder: Path) -> None:
    (folder / "config.json").write_text("[]")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (cut("model.safetensors", 1000), "model.safetensors is no file of safetensors: bring it again"),
        (
            cut("model.safetensors", 9000),
            r"model.safetensors has 9000 bytes of \d+: it was cut off or changed, bring it",
        ),
        (
            a_shard_is_missing,
            r"lacks model-00001-of-\d+.safetensors of the files that model.safetensors.index.json names",
        ),
        (
            a_shard_is_cut_off,
            r"model-\d+-of-\d+.safetensors has 3000 bytes of \d+: it was cut off or changed, bring it",
        ),
        (a_pointer_of_git, "is Git's pointer to the weights and not they: run `git lfs pull` there"),
        (a_page_of_a_proxy, "model.safetensors is no file of safetensors: bring it again"),
        (a_pickle_alone, r"has its weights as a pickle \(pytorch_model.bin\), .* save it by save_pretrained"),
        (an_adapter_alone, "holds an adapter without its model: merge them"),
        (cut("config.json", 50), "config.json is no JSON .*: bring it again from where it is whole"),
        (a_list, "config.json is no JSON object: bring it again"),
        (of_config(hidden_size="many"), "transformers cannot read .*config.json: .*hidden_size"),
        (of_config(num_hidden_layers=3), r"is no sequence classifier: it has no weights for bert.encoder.layer.2.*"),
        (of_config(hidden_size=64), "is no sequence classifier"),
        (code_of_its_own, r"brings code of its own \(auto_map in config.json\), which is not run: take a model of an"),
        (a_tokenizer_of_its_own, r"brings code of its own \(auto_map in tokenizer_config.json\), which is not run"),
    ],
)
def test_a_folder_that_is_spoilt(
    new: New, settings: Settings, classifier: Path, spoil: Callable[[Path], None], said: str
) -> None:
    spoil(classifier)
    assert_refused(new, settings, classifier, "text-classification", said)
