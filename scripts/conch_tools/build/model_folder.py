"""What is wrong with a folder in Hugging Face's form, told from its files before a library trips over them.

Libraries say of a download that was cut off, of a shard that is missing or of a file that Git left as a pointer what
their parsers say. Sizes and names tell the cause, and reading them costs nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conch_tools.errors import BuildError

CONFIG = "config.json"
CODE = "auto_map"
"""What config.json, and those of tokenizers and processors, call the code that comes along with a model."""
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLES = "pytorch_model*.bin"
POINTER = b"version https://git-lfs"
LENGTH_BYTES = 8
"""In which a file of safetensors says how long its header is."""


def require_config(pipeline: str, folder: Path) -> None:
    """Raise BuildError where config.json is missing, or is no JSON object."""
    if (folder / CONFIG).is_file():
        read_json(pipeline, folder / CONFIG)
        return
    if (folder / "adapter_config.json").is_file():
        raise BuildError(
            pipeline,
            f"{folder} holds an adapter without its model: merge them (peft's merge_and_unload), and save the whole",
        )
    raise BuildError(pipeline, f"{folder} holds no {CONFIG}, so it is no Hugging Face model folder")


def read_json(pipeline: str, file: Path) -> Mapping[str, Any]:
    """An object in a file. Raises BuildError."""
    try:
        content = json.loads(file.read_bytes())
    except ValueError as problem:
        raise BuildError(pipeline, f"{file} is no JSON ({problem}): bring it again from where it is whole") from problem
    if not isinstance(content, dict):
        raise BuildError(pipeline, f"{file} is no JSON object: bring it again from where it is whole")
    return content


def require_no_code(pipeline: str, folder: Path, file: str) -> None:
    """Raise BuildError where a file that a library could not use names code of the model's own."""
    if (folder / file).is_file() and CODE in read_json(pipeline, folder / file):
        raise BuildError(
            pipeline,
            f"{folder} brings code of its own ({CODE} in {file}), which is not run: take a model of an architecture "
            "that transformers itself has",
        )


def require_weights(pipeline: str, folder: Path) -> None:
    """Raise BuildError unless all weights are there, whole, as safetensors."""
    if (folder / WEIGHTS).is_file():
        _require_whole(pipeline, folder / WEIGHTS)
        return
    if not (folder / INDEX).is_file():
        raise BuildError(pipeline, _without_weights(folder))
    shards = read_json(pipeline, folder / INDEX).get("weight_map", {})
    names = sorted(set(shards.values())) if isinstance(shards, dict) else []
    missing = [name for name in names if not (folder / name).is_file()]
    if missing or not names:
        lacking = ", ".join(missing) or "any"
        raise BuildError(pipeline, f"{folder} lacks {lacking} of the files that {INDEX} names: bring them as well")
    for name in names:
        _require_whole(pipeline, folder / name)


def _without_weights(folder: Path) -> str:
    pickled = sorted(path.name for path in folder.glob(PICKLES))
    if pickled:
        return (
            f"{folder} has its weights as a pickle ({pickled[0]}), which may run code when it is loaded: where you "
            f"trust it, load it by transformers' from_pretrained and save it by save_pretrained, which writes {WEIGHTS}"
        )
    return f"{folder} has no weights: {WEIGHTS} is missing, which save_pretrained writes"


def _require_whole(pipeline: str, file: Path) -> None:
    """Raise BuildError for a file of safetensors that is shorter or longer than its header says."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        first = opened.read(LENGTH_BYTES)
        length = int.from_bytes(first, "little")
        header = first + opened.read(length) if length <= size else first + opened.read(len(POINTER))
    if header.startswith(POINTER):
        raise BuildError(pipeline, f"{file} is Git's pointer to the weights and not they: run `git lfs pull` there")
    try:
        tensors: dict[str, Any] = json.loads(header[LENGTH_BYTES:])
        ends = [each["data_offsets"][1] for name, each in tensors.items() if name != "__metadata__"]
    except (ValueError, AttributeError, KeyError, TypeError, IndexError) as problem:
        raise BuildError(pipeline, f"{file} is no file of safetensors: bring it again") from problem
    wanted = LENGTH_BYTES + length + max(ends, default=0)
    if size != wanted:
        raise BuildError(pipeline, f"{file} has {size} bytes of {wanted}: it was cut off or changed, bring it again")
