"""Teach a text encoder a new task in about a minute on two cores: low-rank adapters, no time on what is frozen.

A LoRA adapter (Hu et al. 2021, arXiv:2106.09685) on every linear layer of the encoder learns nearly what full
fine-tuning learns and is small enough to be committed with the data and the seed that give it. It is written out here
because peft's took a third more time for each step, and the time of a training is limited. What else the time went
to, and went away with: each thread works on its own share of a batch (two threads on one product of such small
matrices give 1.4 times one, on two shares 1.7 times), products are in BF16 where the processor has it, with the frozen
weights kept so, and a batch holds rows of one length. How long a training takes is told in tokens, because its time is
proportional to them. Coming back only to the hardest rows after the first pass (selective backpropagation, Jiang et
al. 2019, arXiv:1910.00762) gained nothing, nor did a head that starts from a linear probe.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file, save_file

Layer = TypeVar("Layer", bound=torch.nn.Module)
Report = Callable[[str], None]
Losses = Callable[[torch.Tensor, Sequence[int]], torch.Tensor]
"""The loss of each row, [n], from the model's output for some rows and their indices."""

RANK = 32
SCALE = 2.0
WORKERS = 2
SEED = 0
WARM_UP_SHARE = 0.1
AVERAGED_SHARE = 0.6
"""The weights that are kept are a moving average over this last share of the training."""
AVERAGE_DECAY = 0.97
REPORT_EVERY = 20
"""Steps."""


def precision_for(processor: str) -> torch.dtype:
    """BF16, which halves the time, where /proc/cpuinfo names its products; others emulate it, far slower than FP32."""
    return torch.bfloat16 if {"avx512_bf16", "amx_bf16"} & set(processor.split()) else torch.float32


PRECISION = precision_for(Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace"))
"""Of the products of a training; the losses and the trained weights are FP32."""


@dataclass(frozen=True)
class Row:
    """One tokenised text: ids, and the segment (0 or 1) of each."""

    ids: Sequence[int]
    segments: Sequence[int]


@dataclass(frozen=True)
class Recipe:
    """How long and how boldly to train."""

    tokens: int
    """Tokens over the whole training: what its time is proportional to."""
    tokens_a_batch: int = 1024
    adapter_learning_rate: float = 1.5e-3
    head_learning_rate: float = 1e-3


class LowRankLinear(torch.nn.Module):
    """A frozen linear layer plus a trained product of two thin matrices: x W' + b + SCALE x down' up'."""

    def __init__(self, frozen: torch.nn.Linear) -> None:
        super().__init__()
        self.frozen = frozen
        self.down = torch.nn.Parameter(torch.empty(RANK, frozen.in_features))
        self.up = torch.nn.Parameter(torch.zeros(frozen.out_features, RANK))
        torch.nn.init.kaiming_uniform_(self.down, a=5**0.5)
        self.weight = frozen.weight.detach().to(PRECISION)
        self.bias = frozen.bias.detach().to(PRECISION)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            linear = torch.nn.functional.linear
            exact: torch.Tensor = self.frozen(x) + linear(linear(x, self.down), self.up * SCALE)
            return exact
        quick: torch.Tensor = _LowRankProduct.apply(  # type: ignore[no-untyped-call]
            x, self.weight, self.bias, self.down, self.up
        )
        return quick

    def merged(self) -> torch.nn.Linear:
        """One linear layer that gives the same."""
        with torch.no_grad():
            self.frozen.weight += SCALE * self.up @ self.down
        return self.frozen


class _LowRankProduct(torch.autograd.Function):
    """The product of LowRankLinear in PRECISION. Autograd's own would cast the frozen weight at each step and add the
    two terms in passes of their own, which takes a quarter more time."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, down: torch.Tensor, up: torch.Tensor
    ) -> torch.Tensor:
        rows, down, up = x.flatten(0, -2).to(PRECISION), down.to(PRECISION), up.to(PRECISION)
        thin = rows @ down.t()
        output = torch.addmm(bias, rows, weight.t()).addmm_(thin, up.t(), alpha=SCALE)
        ctx.save_for_backward(rows, weight, down, up, thin)
        ctx.form = x.shape, x.dtype
        return output.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, weight, down, up, thin = ctx.saved_tensors
        shape, dtype = ctx.form
        output = outputs[0].flatten(0, -2)
        to_thin = (output @ up).mul_(SCALE)
        to_rows = (output @ weight).addmm_(to_thin, down).view(shape).to(dtype)
        return to_rows, None, None, (to_thin.t() @ rows).float(), (output.t() @ thin).mul_(SCALE).float()


def adapt(layers: torch.nn.Module) -> None:
    """Freeze `layers` and put an adapter on each of its linear layers, so that only the adapters train."""
    layers.requires_grad_(False)
    for name, layer in _layers(layers, torch.nn.Linear):
        layers.set_submodule(name, LowRankLinear(layer))


def save_trained(model: torch.nn.Module, path: Path) -> None:
    """Write the weights that were trained, as FP16."""
    save_file({name: weight.detach().half().contiguous() for name, weight in _trained(model).items()}, path)


def load_trained(model: torch.nn.Module, path: Path) -> None:
    """Read what `save_trained` wrote into a model of the same form, and merge the adapters into their layers."""
    model.load_state_dict({name: weight.float() for name, weight in load_file(path).items()}, strict=False)
    for name, layer in _layers(model, LowRankLinear):
        model.set_submodule(name, layer.merged())


def fit(model: torch.nn.Module, rows: Sequence[Row], losses: Losses, recipe: Recipe, report: Report) -> None:
    """Train what is not frozen of `model(ids, mask, segments)`; the same for the same rows, on the same machine.

    Leaves the model in eval mode, its weights the average over the last AVERAGED_SHARE of the training.
    """
    torch.manual_seed(SEED)
    model.train()
    trained = _trained(model)
    weights = list(trained.values())
    adapter = [weight for name, weight in trained.items() if name.endswith((".up", ".down"))]
    head = [weight for name, weight in trained.items() if not name.endswith((".up", ".down"))]
    rates = [recipe.adapter_learning_rate, recipe.head_learning_rate]
    groups = [{"params": part, "lr": rate} for part, rate in zip((adapter, head), rates, strict=True)]
    optimiser = torch.optim.AdamW(groups, weight_decay=0.01, fused=True)
    averages: list[torch.Tensor] = []
    with _workers() as pool:
        for step, (progress, batch) in enumerate(_batches([len(row.ids) for row in rows], recipe), start=1):
            for group, rate in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = rate * _pace(progress)
            shares = [batch[worker::WORKERS] for worker in range(min(WORKERS, len(batch)))]
            work = [pool.submit(_gradients, model, weights, losses, rows, share) for share in shares]
            found = [future.result() for future in work]
            for weight, parts in zip(weights, zip(*(each for _, each in found), strict=True), strict=True):
                weight.grad = sum(parts[1:], parts[0]) / len(batch)
            torch.nn.utils.clip_grad_norm_(adapter, 1.0)
            optimiser.step()
            if progress > 1 - AVERAGED_SHARE:
                averages = _averaged(averages, weights)
            if step % REPORT_EVERY == 0:
                loss = sum(each for each, _ in found) / len(batch)
                report(f"{progress:.0%} of the training done, loss {loss:.3f}")
    for weight, average in zip(weights, averages or weights, strict=True):
        weight.data.copy_(average)
    model.eval()


def pad(rows: Sequence[Row]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids, mask and segments, INT64 [n, longest row]."""
    ids = torch.zeros(len(rows), max(len(row.ids) for row in rows), dtype=torch.long)
    mask, segments = torch.zeros_like(ids), torch.zeros_like(ids)
    for index, row in enumerate(rows):
        count = len(row.ids)
        ids[index, :count] = torch.tensor(row.ids)
        mask[index, :count] = 1
        segments[index, :count] = torch.tensor(row.segments)
    return ids, mask, segments


@contextmanager
def _workers() -> Iterator[ThreadPoolExecutor]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(WORKERS) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)


def _gradients(
    model: torch.nn.Module,
    weights: Sequence[torch.Tensor],
    losses: Losses,
    rows: Sequence[Row],
    share: Sequence[int],
) -> tuple[float, tuple[torch.Tensor, ...]]:
    """The summed loss of a share of the rows, and its gradients."""
    with torch.autocast("cpu", torch.bfloat16, enabled=PRECISION is torch.bfloat16):
        output = model(*pad([rows[index] for index in share]))
    loss = losses(output.float(), share).sum()
    return loss.item(), torch.autograd.grad(loss, weights)


def _batches(lengths: Sequence[int], recipe: Recipe) -> Iterator[tuple[float, list[int]]]:
    """Indices of the rows of each step, all of one length, and the share of the training done before it."""
    chance = random.Random(SEED)
    order = list(range(len(lengths)))
    waiting: dict[int, list[int]] = defaultdict(list)
    used = 0
    while True:
        chance.shuffle(order)
        for index in order:
            length = lengths[index]
            batch = waiting[length]
            batch.append(index)
            if len(batch) < max(1, recipe.tokens_a_batch // (length * WORKERS)) * WORKERS:
                continue
            yield used / recipe.tokens, waiting.pop(length)
            used += length * len(batch)
            if used >= recipe.tokens:
                return


def _pace(progress: float) -> float:
    """Factor of the learning rates: up over WARM_UP_SHARE, then down along half a cosine."""
    if progress < WARM_UP_SHARE:
        return max(0.04, progress / WARM_UP_SHARE)
    return 0.5 * (1 + math.cos(math.pi * (progress - WARM_UP_SHARE) / (1 - WARM_UP_SHARE)))


def _averaged(averages: list[torch.Tensor], weights: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The exponential moving averages of the weights, begun at their present values."""
    if not averages:
        return [weight.detach().clone() for weight in weights]
    for average, weight in zip(averages, weights, strict=True):
        average.lerp_(weight.detach(), 1 - AVERAGE_DECAY)
    return averages


def _trained(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def _layers(module: torch.nn.Module, kind: type[Layer]) -> list[tuple[str, Layer]]:
    return [(name, layer) for name, layer in module.named_modules() if isinstance(layer, kind)]
