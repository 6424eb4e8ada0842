"""Image pipelines: preprocessor_config.json, the network, the labels, and the reference's answers.

The reference is the PyTorch network on the pixels that the model's own image processor makes of an image; what each
source brings is told by image_classifiers.py.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from conch_tools.build.image_classifiers import image_classifier
from conch_tools.build.quality import LabelAccuracy, Quality
from conch_tools.build.reference import Item, Reference, StepAnswers, byte_item
from conch_tools.build.staging import Staged
from conch_tools.build.text import ranked
from conch_tools.pipelines import Pipeline


class ImageClassifierBuilder:
    """`<pipeline>_decode`, `<pipeline>_model` and `<pipeline>_labels` of an image classifier."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._classifier = image_classifier(pipeline)

    def stage(self, staged: Staged) -> None:
        """Write decoder settings, network and labels."""
        settings = staged.version(self._pipeline.step("decode")) / "preprocessor_config.json"
        settings.write_text(json.dumps(self._classifier.preprocessing, indent=2) + "\n", encoding="utf-8")
        self._classifier.network.write_graph(staged.version(self._pipeline.step("model")) / "model.onnx")
        staged.write_labels(self._pipeline.step("labels"), self._classifier.labels)

    def corpus(self) -> Sequence[Item]:
        """The classifier's pictures for it, and the samples."""
        samples = [byte_item(**self._pipeline.sample_inputs(sample)) for sample in self._pipeline.samples]
        return [*samples, *(byte_item(image=image) for image in self._classifier.corpus)]

    def reference(self, items: Sequence[Item]) -> Reference:
        """The PyTorch network's answers, one image at a time."""
        pixels = [self._classifier.pixels(item["image"][0]) for item in items]
        logits = list(self._classifier.network.answers(np.stack(pixels)))
        return Reference(
            library=self._classifier.library,
            items=items,
            steps=[
                StepAnswers(self._pipeline.step("decode"), {"pixels": pixels}),
                StepAnswers(self._pipeline.step("model"), {self._classifier.output: logits}),
                StepAnswers(
                    self._pipeline.step("labels"), ranked(logits, self._classifier.labels, self._classifier.scores)
                ),
            ],
            tolerance=self._pipeline.gates.max_abs_difference,
        )

    def quality(self) -> Quality | None:
        """Accuracy on held-out images; None for a model that brings none."""
        heldout = self._classifier.heldout
        if not heldout:
            return None
        return LabelAccuracy("image", [image for image, _ in heldout], [label for _, label in heldout])
