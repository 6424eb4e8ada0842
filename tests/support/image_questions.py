"""How tests ask a pipeline of images: whole batches, one request, or single images side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from conch_client import Client

BATCH = 7
CALLERS = 16
Scores = dict[str, float]
"""By label, best first."""
Ask = Callable[[Client, str, Sequence[bytes]], list[Scores]]


def one_request(client: Client, name: str, images: Sequence[bytes]) -> list[Scores]:
    """What is answered to each of some encoded images."""
    answer = client.infer(name, inputs={"image": np.array([[image] for image in images], dtype=np.object_)})
    return [
        dict(zip(labels, scores, strict=True))
        for labels, scores in zip(answer["label"].tolist(), answer["score"].tolist(), strict=True)
    ]


def in_batches(client: Client, name: str, images: Sequence[bytes]) -> list[Scores]:
    """The same in several requests, one after the other."""
    starts = range(0, len(images), BATCH)
    return [answer for start in starts for answer in one_request(client, name, images[start : start + BATCH])]


def as_concurrent_singles(client: Client, name: str, images: Sequence[bytes]) -> list[Scores]:
    """The same in a request for each image, side by side."""
    with ThreadPoolExecutor(CALLERS) as callers:
        return [answer for (answer,) in callers.map(lambda image: one_request(client, name, [image]), images)]
