"""The model of a pipeline's source, as PyTorch has it: whole, and with what it takes.

transformers makes up at random the weights that a folder lacks, and says so in a warning at most; here such a folder is
refused, whatever the pipeline's task.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from conch_tools.build.model_folder import CONFIG, require_no_code, require_weights
from conch_tools.build.sources import source_folder
from conch_tools.errors import BuildError, first_line
from conch_tools.pipelines import Pipeline

SEGMENTS = "token_type_ids"
SHOWN_WEIGHTS = 3
"""Of those that are missing."""


def source_model(pipeline: Pipeline, auto: Any, kind: str, unread: str | None = None) -> PreTrainedModel:
    """The source as a model of transformers' class `auto`, in eval mode.

    `kind` is what it must be, as it is called in a refusal; of what nobody reads, weights with `unread` in their names,
    any may be missing. Raises BuildError for a folder that is none.
    """
    whole: PreTrainedModel = model_in(pipeline, source_folder(pipeline), auto, kind, unread)
    return whole


def model_in(pipeline: Pipeline, folder: Path, auto: Any, kind: str, unread: str | None = None) -> Any:
    """The same of any folder."""
    require_weights(pipeline.name, folder)
    try:
        # Eager attention exports to plain matrix products, which both ONNX Runtime and TensorRT fuse.
        model, loading = auto.from_pretrained(
            folder,
            dtype=torch.float32,
            attn_implementation="eager",
            output_loading_info=True,
            use_safetensors=True,
            trust_remote_code=False,
        )
    except (ValueError, OSError, RuntimeError, SafetensorError) as problem:
        require_no_code(pipeline.name, folder, CONFIG)
        said = first_line(problem)
        raise BuildError(pipeline.name, f"{folder} is no {kind} that transformers can load: {said}") from problem
    missing = sorted(name for name in loading["missing_keys"] if unread is None or unread not in name)
    if missing:
        more = f" and {len(missing) - SHOWN_WEIGHTS} more" if len(missing) > SHOWN_WEIGHTS else ""
        raise BuildError(
            pipeline.name,
            f"{folder} is no {kind}: it has no weights for {', '.join(missing[:SHOWN_WEIGHTS])}{more}, "
            "which transformers would make up at random",
        )
    return model.eval()


def require_positions(pipeline: Pipeline, max_tokens: int, positions: int) -> None:
    """Raise BuildError where a row of `max_tokens` is longer than the model's positions reach."""
    if max_tokens > positions:
        raise BuildError(pipeline.name, f"max_tokens is {max_tokens}, but its source takes {positions}")


def tells_segments(tokenizer: PreTrainedTokenizerFast, config: Any) -> bool:
    """Whether a model tells the two texts of a pair apart by segment numbers: its tokenizer gives them, and it has
    something to learn from them."""
    return SEGMENTS in tokenizer.model_input_names and getattr(config, "type_vocab_size", 0) > 0
