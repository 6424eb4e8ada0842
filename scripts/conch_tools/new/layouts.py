"""What the folders of a pipeline hold, by task: which template is which step's configuration, and what is filled in.

A template is a config.pbtxt with `$names` in it. What its dims are the source tells: facts.py reads them.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conch_tools.deployment import Priority
from conch_tools.new import facts, image_facts
from conch_tools.new.facts import Facts
from conch_tools.new.sample_pictures import daisy, landscape
from conch_tools.pipelines import Pipeline, Sample, Task

TEMPLATES = Path(__file__).with_name("templates")
MAX_BATCH_SIZE = 64
DYNAMIC_BATCHING: Mapping[Priority, str] = {
    "throughput": "# Throughput comes first: a batch waits a moment for more requests to join it.\n"
    "dynamic_batching { max_queue_delay_microseconds: 2000 }"
}
"""Of the model step. Without a delay, a request waits for nobody."""
NO_DELAY = "dynamic_batching {}"
TEXT_MODEL = "steps/ragged_text_model.pbtxt"
TOKENIZER = "steps/text_tokenize.pbtxt"
CLASS_LABELS = "steps/class_labels.pbtxt"
IMAGE_DECODER = "steps/image_decode.pbtxt"
IMAGE_MODEL = "steps/image_model.pbtxt"
PIXEL_GATE = 1e-3
"""Of the scores of images. Reference and step make pixels with Pillow's arithmetic, alike to a hundredth of a grey
level; but an image processor of which transformers has only torchvision's version is one level off at places, and of
that a score moves: on four small families with random weights by 1e-5 to 9e-4 in the median. A tighter gate would tell
the two libraries apart, not a sound pipeline from a faulty one. A wrong crop, resample kind or order of channels is
refused before it comes to scores: see build/image_processors.py."""
PICTURES = {"samples/landscape.png": landscape, "samples/daisy.png": daisy}


@dataclass(frozen=True)
class Layout:
    """The files of one task's pipelines."""

    ensemble: str
    """Template of the ensemble's config.pbtxt."""
    steps: Mapping[str, str]
    """Template of each step's, by role."""
    facts: Callable[[Pipeline], Facts]
    """Reads what is filled in. Raises BuildError when the source does not tell."""
    samples: tuple[Mapping[str, Any], ...]
    """What the samples send, names to be filled in among it; the answers they expect are the reference library's."""
    description: str
    limit: str = ""
    """What [text] in pipeline.toml remarks."""
    files: Mapping[str, Callable[[], bytes]] = field(default_factory=dict)
    """What the samples name: content by path in the pipeline's folder."""
    gate: float = 1e-4
    """That a number of an answer may be off from the reference library's."""


LAYOUTS: Mapping[Task, Layout] = {
    "text-classification": Layout(
        ensemble="text_classification/ensemble.pbtxt",
        steps={"tokenize": TOKENIZER, "model": TEXT_MODEL, "labels": CLASS_LABELS},
        facts=facts.text_classification,
        samples=(
            {"text": "The room was spotless and the staff could not have been kinder."},
            {"text": "Broke on the second day and nobody answers my emails."},
        ),
        description="Which class a text belongs to.",
    ),
    "token-classification": Layout(
        ensemble="token_classification/ensemble.pbtxt",
        steps={"entities": "steps/token_entities.pbtxt", "model": TEXT_MODEL},
        facts=facts.token_classification,
        samples=(
            {"text": "Ingrid Solheim moved to Bergen on 4 May 2021."},
            {"text": "The soup was too salty, but nobody complained."},
        ),
        description="What a text names, and where it stands.",
    ),
    "question-answering": Layout(
        ensemble="question_answering/ensemble.pbtxt",
        steps={"answers": "steps/question_answers.pbtxt", "model": TEXT_MODEL},
        facts=facts.question_answering,
        samples=(
            {
                "question": "Who built the lighthouse?",
                "context": "The lighthouse of Port Ellary was built in 1871 by Ingrid Solheim, from Bergen.",
            },
            {
                "question": "How tall is the bridge?",
                "context": "The bakery on Mill Street opens at six. On Sundays it sells only rye bread.",
            },
        ),
        description="The words of a text that answer a question, or that it does not say.",
        limit="Of one window; longer contexts take several. The step `answers` has the same number.",
    ),
    "zero-shot-classification": Layout(
        ensemble="zero_shot_classification/ensemble.pbtxt",
        steps={"scores": "steps/entailment_scores.pbtxt", "model": TEXT_MODEL},
        facts=facts.zero_shot_classification,
        samples=(
            {
                "text": "The striker scored twice in the last five minutes.",
                "labels": ["football", "cooking", "astronomy"],
            },
            {"text": "I was charged twice for the same order.", "labels": ["delivery", "payment", "opening hours"]},
        ),
        description="Which of the labels that come with a text it entails.",
    ),
    "fill-mask": Layout(
        ensemble="fill_mask/ensemble.pbtxt",
        steps={"fills": "steps/mask_fills.pbtxt", "model": TEXT_MODEL},
        facts=facts.fill_mask,
        samples=(
            {"text": "The room was $mask and the staff could not have been kinder."},
            {"text": "Broke on the second $mask and nobody answers my emails."},
        ),
        description="Which words may stand where a text has a mask.",
        limit="Longer texts are refused. The step `fills` has the same number.",
    ),
    "feature-extraction": Layout(
        ensemble="feature_extraction/ensemble.pbtxt",
        steps={"tokenize": TOKENIZER, "model": TEXT_MODEL},
        facts=facts.feature_extraction,
        samples=({"text": "The parcel arrived two days late, but nothing was broken."},),
        description="A text's meaning as numbers; near texts have near numbers.",
    ),
    "tabular-classification": Layout(
        ensemble="tabular_classification/ensemble.pbtxt",
        steps={
            "features": "steps/tabular_features.pbtxt",
            "model": "steps/tabular_model.pbtxt",
            "labels": CLASS_LABELS,
        },
        facts=facts.tabular_classification,
        # The model tells the names of the values; rows of them come with the facts.
        samples=({"features": {}},),
        description="Which class a row of named values belongs to.",
    ),
    "image-classification": Layout(
        ensemble="image_classification/ensemble.pbtxt",
        steps={
            "decode": IMAGE_DECODER,
            "model": IMAGE_MODEL,
            "labels": CLASS_LABELS,
        },
        facts=image_facts.image_classification,
        samples=tuple({"image": path} for path in PICTURES),
        description="Which class an image belongs to.",
        files=PICTURES,
        gate=PIXEL_GATE,
    ),
    "zero-shot-image-classification": Layout(
        ensemble="zero_shot_image_classification/ensemble.pbtxt",
        steps={
            "decode": IMAGE_DECODER,
            "vision": IMAGE_MODEL,
            "words": TEXT_MODEL,
            "match": "steps/image_text_match.pbtxt",
        },
        facts=image_facts.zero_shot_image_classification,
        samples=tuple({"image": path, "labels": ["a landscape", "a daisy", "a city at night"]} for path in PICTURES),
        description="Which of the labels that you send fits an image.",
        files=PICTURES,
        gate=PIXEL_GATE,
    ),
}


def samples(task: Task, found: Facts) -> list[Sample]:
    """What the samples of a pipeline send; what they expect is not known yet."""
    if found.samples:
        return list(found.samples)
    return [
        Sample(input={name: _said(value, found.filled_in) for name, value in sent.items()}, expect={})
        for sent in LAYOUTS[task].samples
    ]


def configurations(pipeline: Pipeline, found: Facts, priority: Priority) -> dict[str, str]:
    """The text of every config.pbtxt, by the name of its model."""
    layout = LAYOUTS[pipeline.task]
    names = {
        "pipeline": pipeline.name,
        "max_batch_size": min(MAX_BATCH_SIZE, found.largest_batch or MAX_BATCH_SIZE),
        "dynamic_batching": DYNAMIC_BATCHING.get(priority, NO_DELAY),
        **found.filled_in,
    }
    templates = {pipeline.name: layout.ensemble, **{pipeline.step(role): file for role, file in layout.steps.items()}}
    return {model: _filled(file, {"model": model, **names}) for model, file in templates.items()}


def _filled(file: str, names: Mapping[str, object]) -> str:
    """A line that holds nothing but the name of nothing goes."""
    lines = (TEMPLATES / file).read_text(encoding="utf-8").splitlines(keepends=True)
    filled = (string.Template(line).substitute(names) for line in lines)
    return "".join(line for line in filled if line.strip())


def _said(value: Any, names: Mapping[str, object]) -> Any:
    return string.Template(value).substitute(names) if isinstance(value, str) else value
