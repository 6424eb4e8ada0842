"""What runs apart for a network of PyTorch's: make it, see what it answers, write its graph. See apart.py.

A function that returns a network and an archive of TorchServe's run code of their makers, so neither is loaded where
the build has its network and its secrets; TorchScript goes the same way.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conch_tools.build.apart_inside import GRAPH, Refusal, answer_rows, are_probabilities, serve
from conch_tools.build.torchserve import Archive, BadArchive
from conch_tools.errors import first_line

TRIED_ROWS = 2
"""Of the example: one row alone could be taken for a constant."""
UNPACKED = "archive"


def answered(request: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The shape of a row, the number of classes and whether these have probabilities; scores and graph lie in the
    folder then, if they are asked for."""
    import torch

    network = _loaded(request, folder).eval()
    shape = request["shape"] or [_columns_of(network)]
    example = torch.randn(TRIED_ROWS, *shape, generator=torch.Generator().manual_seed(0))
    scores = _scores(network, example, request["taking"])
    answer_rows(folder, lambda rows: _scores(network, torch.from_numpy(rows), request["taking"]).numpy())
    if request["graph"]:
        _write_graph(network, example, folder, request["graph"])
    return {"shape": shape, "classes": scores.shape[1], "are_probabilities": are_probabilities(scores)}


def _loaded(request: Mapping[str, Any], folder: Path) -> Any:
    """The network that a request names. Raises Refusal."""
    if (reference := request.get("module")) is not None:
        return _made_by(reference, request["path"])
    if (archive := request.get("archive")) is not None:
        return _archived(Path(archive), folder / UNPACKED)
    file = Path(request["file"])
    return _scripted(file, f"source.file {file}")


def _made_by(reference: str, path: list[str]) -> Any:
    """What a function returns, which is found where the process that builds would find it."""
    import torch

    sys.path.extend(each for each in path if each not in sys.path)
    module, _, function = reference.partition(":")
    try:
        make = getattr(importlib.import_module(module), function)
    except ImportError as problem:
        raise Refusal(
            f"source.module {reference} cannot be imported: {problem}: install it, or set PYTHONPATH"
        ) from problem
    except AttributeError as problem:
        raise Refusal(f"source.module {reference}: {problem}") from problem
    if not callable(make):
        raise Refusal(f"source.module {reference}: {function} is no function")
    try:
        made = make()
    except Exception as problem:
        raise Refusal(
            f"source.module {reference} fails: {type(problem).__name__}: {first_line(problem)} (it has no network: "
            "let it read its weights from a file)"
        ) from problem
    if not isinstance(made, torch.nn.Module):
        raise Refusal(f"source.module {reference} returns a {type(made).__name__}, not a torch.nn.Module")
    return made


def _scripted(file: Path, named: str) -> Any:
    import torch

    try:
        with warnings.catch_warnings():
            # That TorchScript is deprecated does not help whoever has a file of it.
            warnings.simplefilter("ignore")
            return torch.jit.load(str(file), map_location="cpu")
    except (RuntimeError, ValueError) as problem:
        raise Refusal(
            f"{named} is no TorchScript, as torch.jit.save writes it: {first_line(problem)}. Of weights alone, name a "
            "function that makes the network: module:PACKAGE.MODULE:FUNCTION"
        ) from problem


def _archived(file: Path, folder: Path) -> Any:
    """The model of an archive, as TorchServe's base handler loads it."""
    try:
        archive = Archive.read(file)
        archive.unpack(folder)
    except BadArchive as problem:
        raise Refusal(str(problem)) from problem
    weights = folder / archive.serialized_file if archive.serialized_file else None
    if archive.model_file is None:
        if weights is None:
            raise Refusal(f"{file} holds no model: its MANIFEST.json names neither a serializedFile nor a modelFile")
        return _scripted(weights, f"{archive.serialized_file} in {file}")
    network = _of_code(file, folder, archive.model_file)
    if weights is not None:
        _load_weights(network, weights, f"{archive.serialized_file} in {file}")
    return network


def _of_code(file: Path, folder: Path, model_file: str) -> Any:
    """The one network that the archive's code defines, made without arguments."""
    import torch

    sys.path.insert(0, str(folder))
    named = f"{model_file} in {file}"
    try:
        module = importlib.import_module(model_file.removesuffix(".py"))
    except Exception as problem:
        raise Refusal(f"{named} cannot be imported: {type(problem).__name__}: {first_line(problem)}") from problem
    kinds = [
        kind
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if kind.__module__ == module.__name__ and issubclass(kind, torch.nn.Module)
    ]
    if len(kinds) != 1:
        names = ", ".join(kind.__name__ for kind in kinds) or "none"
        raise Refusal(f"{named} must define one class of torch.nn.Module, as TorchServe wants it, but defines {names}")
    try:
        return kinds[0]()
    except Exception as problem:
        raise Refusal(
            f"{kinds[0].__name__} of {named} cannot be made without arguments, as TorchServe makes it: "
            f"{type(problem).__name__}: {first_line(problem)}"
        ) from problem


def _load_weights(network: Any, weights: Path, named: str) -> None:
    import pickle

    import torch

    try:
        network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    except (RuntimeError, ValueError, TypeError, AttributeError, EOFError, pickle.UnpicklingError) as problem:
        raise Refusal(f"{named} is no state dict of the network beside it: {first_line(problem)}") from problem


def _columns_of(network: Any) -> int:
    """The values that a row has: those that the first matrix of weights takes. Raises Refusal."""
    first = next((each for each in network.parameters() if each.ndim > 1), None)
    if first is None or first.ndim != 2:
        raise Refusal("its network does not tell how many columns it takes: its first weights are no matrix")
    return int(first.shape[1])


def _scores(network: Any, rows: Any, taking: str) -> Any:
    """What the network answers, a tensor [n, classes]. Raises Refusal."""
    import torch

    try:
        with torch.no_grad():
            scores = network(rows)
    except Exception as problem:
        # It is code of anybody's.
        raise Refusal(
            f"its network does not take {taking.format(list(rows.shape[1:]))}: {_cause(problem)}"
        ) from problem
    if not isinstance(scores, torch.Tensor):
        raise Refusal(f"its network answers with a {type(scores).__name__}, not with a tensor of logits")
    if scores.ndim != 2 or len(scores) != len(rows):
        raise Refusal(f"its network answers {len(rows)} rows with {list(scores.shape)}, not with [rows, classes]")
    return scores.float()


def _cause(problem: Exception) -> str:
    """TorchScript's own errors begin with where, and end with what."""
    first = first_line(problem)
    return str(problem).strip().splitlines()[-1] if "TorchScript interpreter" in first else first


def _write_graph(network: Any, example: Any, folder: Path, names: Mapping[str, str]) -> None:
    from conch_tools.build.torch_graph import export_rows

    try:
        export_rows(network, example, folder / GRAPH, names["given"], names["answer"])
    except Exception as problem:
        raise Refusal(f"torch cannot write its network as an ONNX graph: {first_line(problem)}") from problem


if __name__ == "__main__":
    serve(answered)
