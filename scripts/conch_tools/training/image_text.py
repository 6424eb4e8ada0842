"""A CLIP small enough to be trained in a minute: drawn shapes of many colours, and the words that describe them.

It shows the pipeline without a download. The pictures are drawn here: one shape of one colour on paper, turned a
little, moved, small or large. A picture has many true descriptions ("a red star", "a large star", "a red shape"), so a
training batch asks for all of its captions that are true of a picture, and not for the one beside it. One in five pairs
of colour and shape is never drawn in training: whether "a pink cross" is found then tells if the model reads the two
words or has learned pairs by heart.

What comes out is an ordinary Hugging Face folder (CLIPModel, tokenizer, image processor) in training/data/image_text.
"""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast

from conch_steps.image_decoder import ImageDecoder, Preprocessing
from conch_tools.training import DATA, Report
from conch_tools.training._shapes import COLOURS, SHAPES, SIZES, Scene, draw, encoded

folder = DATA / "image_text"
UNSEEN = frozenset(
    (colour, shape)
    for row, colour in enumerate(COLOURS)
    for column, shape in enumerate(SHAPES)
    if (row * 3 + column) % 5 == 0
)
"""Pairs that no training picture shows."""
labels: Sequence[str] = [Scene(*pair).caption() for pair in itertools.product(COLOURS, SHAPES)]

TEMPLATES = ("{}", "a photo of {}", "This is a photo of {}.", "a picture of {}", "a drawing of {}.")
PIXELS = 32
PATCH = 8
TOKENS = 32
SEED = 11
PICTURES = 4000
STEPS = 600
BATCH = 128
PEAK_LEARNING_RATE = 2e-3
HELDOUT = 480
REPORT_EVERY = 50
BEGIN, END = "<|startoftext|>", "<|endoftext|>"

preprocessing: dict[str, Any] = {
    "image_processor_type": "CLIPImageProcessor",
    "do_convert_rgb": True,
    "do_resize": True,
    "size": {"shortest_edge": PIXELS},
    "resample": int(Image.Resampling.BICUBIC),
    "do_center_crop": True,
    "crop_size": {"height": PIXELS, "width": PIXELS},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}


def heldout() -> list[tuple[bytes, str, bool]]:
    """New pictures, the true one of `labels`, and whether training had that pair of colour and shape: half of each."""
    chance = random.Random(SEED + 1)
    every = list(itertools.product(COLOURS, SHAPES))
    pairs = [[pair for pair in every if (pair in UNSEEN) is unseen] for unseen in (True, False)]
    drawn = []
    for number in range(HELDOUT):
        colour, shape = chance.choice(pairs[number % 2])
        scene = Scene(colour, shape, chance.choice(SIZES))
        drawn.append((encoded(draw(scene, chance), chance), Scene(colour, shape).caption(), bool(number % 2)))
    return drawn


def train(report: Report) -> None:
    """Train on pictures drawn here and write the folder."""
    torch.manual_seed(SEED)
    chance = random.Random(SEED)
    scenes = [_scene(chance) for _ in range(PICTURES)]
    pixels = _pixels([encoded(draw(scene, chance), chance) for scene in scenes])
    report(f"image_text: {PICTURES} pictures drawn")
    tokenizer = _tokenizer()
    model = CLIPModel(_config(tokenizer)).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=0.05, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_LEARNING_RATE, total_steps=STEPS, pct_start=0.1)
    for step in range(1, STEPS + 1):
        chosen = chance.sample(range(PICTURES), BATCH)
        loss = _loss(model, tokenizer, pixels[chosen], [scenes[index] for index in chosen], chance)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=math.log(100))
        if step % REPORT_EVERY == 0:
            report(f"image_text: step {step} of {STEPS}, loss {loss.item():.3f}")
    _save(model.eval(), tokenizer)


def _scene(chance: random.Random) -> Scene:
    while True:
        colour, shape = chance.choice(list(COLOURS)), chance.choice(SHAPES)
        if (colour, shape) not in UNSEEN:
            return Scene(colour, shape, chance.choice(SIZES))


def _said(scene: Scene, chance: random.Random) -> Scene:
    """A true caption of the scene that leaves some of it open, but not colour and shape both."""
    colour, shape = chance.choice([(True, True), (True, True), (True, False), (False, True), (False, True)])
    return Scene(
        scene.colour if colour else "",
        scene.shape if shape else "",
        scene.size if chance.random() < 0.3 else "",
    )


def _loss(
    model: CLIPModel,
    tokenizer: PreTrainedTokenizerFast,
    pixels: torch.Tensor,
    scenes: Sequence[Scene],
    chance: random.Random,
) -> torch.Tensor:
    """Cross-entropy in both directions against all that is true: every caption of a picture, every picture of one."""
    said = list(dict.fromkeys(_said(scene, chance) for scene in scenes))
    texts = [chance.choice(TEMPLATES).replace("{}", each.caption()) for each in said]
    batch = tokenizer(texts, return_tensors="pt", padding=True)
    logits = model(pixel_values=pixels, **batch).logits_per_image
    true = torch.tensor([[scene.includes(each) for each in said] for scene in scenes], dtype=torch.float32)
    by_picture = torch.nn.functional.cross_entropy(logits, true / true.sum(dim=1, keepdim=True))
    by_caption = torch.nn.functional.cross_entropy(logits.t(), (true / true.sum(dim=0, keepdim=True)).t())
    return by_picture + by_caption


def _pixels(images: Sequence[bytes]) -> torch.Tensor:
    decoder = ImageDecoder(Preprocessing.from_settings(preprocessing))
    return torch.cat(
        [
            torch.from_numpy(decoder.decode(np.array(images[start : start + 64], dtype=np.object_).reshape(-1, 1)))
            for start in range(0, len(images), 64)
        ]
    )


def _tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level pieces, so any text has ids; whole words for what the captions say."""
    tokenizer = Tokenizer(models.BPE(unk_token=None))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        special_tokens=[BEGIN, END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        vocab_size=600,
        show_progress=False,
    )
    scenes = (Scene(*each) for each in itertools.product(("", *COLOURS), ("", *SHAPES), ("", *SIZES)))
    texts = [template.replace("{}", scene.caption()) for scene in scenes for template in TEMPLATES]
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A {END}", special_tokens=[(BEGIN, 0), (END, 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BEGIN, eos_token=END, pad_token=END, model_max_length=TOKENS
    )


def _config(tokenizer: PreTrainedTokenizerFast) -> CLIPConfig:
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": TOKENS,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
    }
    vision = {
        "hidden_size": 96,
        "intermediate_size": 192,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "image_size": PIXELS,
        "patch_size": PATCH,
    }
    return CLIPConfig(text_config=text, vision_config=vision, projection_dim=64)


def _save(model: CLIPModel, tokenizer: PreTrainedTokenizerFast) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessing, indent=2) + "\n", encoding="utf-8")
