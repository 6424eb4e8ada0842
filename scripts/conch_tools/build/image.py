"""Image pipelines: preprocessor_config.json, the network, the labels, and the reference's answers.

The reference is the PyTorch network on the pixels that the decoder step makes; how pixels are made from a file is the
decoder's own contract and tested there.
"""

from __future__ import annotations

import json
import warnings

import numpy as np
import torch

from conch_steps.image_decoder import ImageDecoder, Preprocessing
from conch_tools.build.ragged import OPSET
from conch_tools.build.reference import Reference, StepAnswers
from conch_tools.build.staging import Staged
from conch_tools.build.text import ranked
from conch_tools.errors import BuildError
from conch_tools.pipelines import Pipeline
from conch_tools.training import ImageTraining, image_training


def build_image_classifier(pipeline: Pipeline, staged: Staged) -> Reference:
    """Stage decoder settings, network and labels of a trained image classifier; returns the reference."""
    if pipeline.source.training is None:
        raise BuildError(pipeline.name, "image-classification needs source.training")
    training: ImageTraining = image_training(pipeline.source.training)
    network = training.load().eval()
    settings = staged.version(pipeline.step("decode")) / "preprocessor_config.json"
    settings.write_text(json.dumps(training.preprocessing, indent=2) + "\n", encoding="utf-8")
    decoder = ImageDecoder(Preprocessing.from_settings(training.preprocessing))
    images = training.corpus()
    pixels = decoder.decode(np.array(images, dtype=np.object_).reshape(-1, 1))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.from_numpy(pixels[:2]),),
            str(staged.version(pipeline.step("model")) / "model.onnx"),
            input_names=["pixels"],
            output_names=["logits"],
            opset_version=OPSET,
            dynamo=False,
            dynamic_axes={"pixels": {0: "rows"}, "logits": {0: "rows"}},
        )
        logits = [network(torch.from_numpy(each[None]))[0].numpy() for each in pixels]
    staged.write_labels(pipeline.step("labels"), training.labels)
    heldout = training.heldout()
    staged.record_heldout(inputs=[image for image, _ in heldout], labels=[label for _, label in heldout])
    return Reference(
        input_tensor="image",
        items=images,
        steps=[
            StepAnswers(pipeline.step("decode"), {"pixels": list(pixels)}),
            StepAnswers(pipeline.step("model"), {"logits": logits}),
            StepAnswers(pipeline.step("labels"), ranked(logits, training.labels)),
        ],
        tolerance=pipeline.gates.max_abs_difference,
    )
