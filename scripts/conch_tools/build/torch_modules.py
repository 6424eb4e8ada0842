"""Networks that come as PyTorch itself has them: a function that makes one, or a TorchScript file.

Neither tells its classes or how its pixels are made; pipeline.toml does, in [image]. A function runs the user's code in
the process that builds: who names it trusts it.
"""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path

import torch

from conch_tools.build.sources import source_file
from conch_tools.errors import BuildError, first_line
from conch_tools.pipelines import PIPELINE_FILE, Pipeline


def torch_module(pipeline: Pipeline) -> torch.nn.Module:
    """The network of `source.module` or `source.file`, in eval mode. Raises BuildError when there is none."""
    if pipeline.source.module is not None:
        return _made_by(pipeline, pipeline.source.module).eval()
    if pipeline.source.file is not None:
        return _scripted(pipeline, source_file(pipeline)).eval()
    raise BuildError(pipeline.name, f"{pipeline.folder / PIPELINE_FILE}: source names no module and no file")


def _made_by(pipeline: Pipeline, reference: str) -> torch.nn.Module:
    module, _, function = reference.partition(":")
    try:
        make = getattr(importlib.import_module(module), function)
    except ImportError as problem:
        raise BuildError(
            pipeline.name, f"source.module {reference} cannot be imported: {problem}: install it, or set PYTHONPATH"
        ) from problem
    except AttributeError as problem:
        raise BuildError(pipeline.name, f"source.module {reference}: {problem}") from problem
    if not callable(make):
        raise BuildError(pipeline.name, f"source.module {reference}: {function} is no function")
    made = make()
    if not isinstance(made, torch.nn.Module):
        raise BuildError(
            pipeline.name, f"source.module {reference} returns a {type(made).__name__}, not a torch.nn.Module"
        )
    return made


def _scripted(pipeline: Pipeline, file: Path) -> torch.nn.Module:
    try:
        with warnings.catch_warnings():
            # That TorchScript is deprecated does not help whoever has a file of it.
            warnings.simplefilter("ignore")
            loaded: torch.nn.Module = torch.jit.load(str(file), map_location="cpu")
    except RuntimeError as problem:
        raise BuildError(
            pipeline.name, f"source.file {file} is no TorchScript, as torch.jit.save writes it: {first_line(problem)}"
        ) from problem
    return loaded
