"""Image pipelines: preprocessor_config.json, the network, the labels, and the reference's answers.

The reference is the PyTorch network on the pixels that the decoder step makes; how pixels are made from a file is the
decoder's own contract and tested there.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence

import numpy as np
import torch

from conch_steps.image_decoder import ImageDecoder, Preprocessing
from conch_tools.build.quality import LabelAccuracy, Quality
from conch_tools.build.ragged import OPSET
from conch_tools.build.reference import Item, Reference, StepAnswers, byte_item
from conch_tools.build.staging import Staged
from conch_tools.build.text import ranked
from conch_tools.errors import BuildError
from conch_tools.pipelines import Pipeline
from conch_tools.training import ImageTraining, image_training


class ImageClassifierBuilder:
    """`<pipeline>_decode`, `<pipeline>_model` and `<pipeline>_labels` of an image network that Conch trained."""

    def __init__(self, pipeline: Pipeline) -> None:
        if pipeline.source.training is None:
            raise BuildError(pipeline.name, "image-classification needs source.training")
        self._pipeline = pipeline
        self._training: ImageTraining = image_training(pipeline.source.training)
        self._network = self._training.load().eval()
        self._decoder = ImageDecoder(Preprocessing.from_settings(self._training.preprocessing))

    def stage(self, staged: Staged) -> None:
        """Write decoder settings, network and labels."""
        settings = staged.version(self._pipeline.step("decode")) / "preprocessor_config.json"
        settings.write_text(json.dumps(self._training.preprocessing, indent=2) + "\n", encoding="utf-8")
        pixels = self._decoder.decode(np.array(self._training.corpus()[:2], dtype=np.object_).reshape(-1, 1))
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                self._network,
                (torch.from_numpy(pixels),),
                str(staged.version(self._pipeline.step("model")) / "model.onnx"),
                input_names=["pixels"],
                output_names=["logits"],
                opset_version=OPSET,
                dynamo=False,
                dynamic_axes={"pixels": {0: "rows"}, "logits": {0: "rows"}},
            )
        staged.write_labels(self._pipeline.step("labels"), self._training.labels)

    def corpus(self) -> Sequence[Item]:
        """The training's pictures for it."""
        return [byte_item(image=image) for image in self._training.corpus()]

    def reference(self, items: Sequence[Item]) -> Reference:
        """The PyTorch network's answers, one image at a time."""
        images = [item["image"][0] for item in items]
        pixels = self._decoder.decode(np.array(images, dtype=np.object_).reshape(-1, 1))
        with torch.no_grad():
            logits = [self._network(torch.from_numpy(each[None]))[0].numpy() for each in pixels]
        return Reference(
            library="PyTorch",
            items=items,
            steps=[
                StepAnswers(self._pipeline.step("decode"), {"pixels": list(pixels)}),
                StepAnswers(self._pipeline.step("model"), {"logits": logits}),
                StepAnswers(self._pipeline.step("labels"), ranked(logits, self._training.labels)),
            ],
            tolerance=self._pipeline.gates.max_abs_difference,
        )

    def quality(self) -> Quality | None:
        """Accuracy on the training's held-out images."""
        heldout = self._training.heldout()
        return LabelAccuracy("image", [image for image, _ in heldout], [label for _, label in heldout])
