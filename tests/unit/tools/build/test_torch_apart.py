"""What is made of a network apart: of an archive as TorchServe loads it, of rows, and what is said of one that is none.

`answered` is asked in the test's own process: importing torch in another takes longer than a test.
"""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conch_steps.onnx_backend.session import ort
from conch_tools.build.apart_inside import GRAPH, ROWS, SCORES, Refusal
from conch_tools.build.torch_apart import answered
from torch_sources import NETWORK, save_traced, write_archive

PIXELS = [3, 28, 42]
TWO_NETWORKS = NETWORK + "\n\nclass Other(torch.nn.Module):\n    pass\n"
WITH_ARGUMENTS = NETWORK.replace("def __init__(self)", "def __init__(self, classes)")


@pytest.fixture(autouse=True)
def nothing_stays_imported() -> Iterator[None]:
    """Each archive's code is a module of the same name, here and in other tests."""
    path = sys.path[:]
    _forget()
    yield
    sys.path[:] = path
    _forget()


def _forget() -> None:
    for name in [each for each in sys.modules if each.startswith("patches")]:
        del sys.modules[name]


def network(code: str = NETWORK) -> Any:
    defined: dict[str, Any] = {}
    exec(code, defined)
    return defined["Patches"]().eval()


def saved(what: Any) -> bytes:
    file = io.BytesIO()
    torch.save(what, file)
    return file.getvalue()


def ask(folder: Path, shape: list[int] | None = PIXELS, graph: bool = False, **source: str) -> dict[str, Any]:
    names = {"given": "rows", "answer": "scores"} if graph else None
    return answered({**source, "shape": shape, "taking": "rows of {}", "graph": names}, folder)


def test_the_weights_of_an_archive_go_into_the_network_that_its_code_defines(tmp_path: Path) -> None:
    expected = network()
    with torch.no_grad():
        expected.classes.bias.add_(1.0)
    content = {"patches.py": NETWORK, "weights.pt": saved(expected.state_dict())}
    file = write_archive(tmp_path / "a.mar", content, modelFile="patches.py", serializedFile="weights.pt")
    pixels = np.random.default_rng(0).normal(size=(3, *PIXELS)).astype(np.float32)
    np.save(tmp_path / ROWS, pixels)
    assert ask(tmp_path, graph=True, archive=str(file)) == {
        "shape": PIXELS,
        "classes": 5,
        "are_probabilities": False,
    }
    with torch.no_grad():
        logits = expected(torch.from_numpy(pixels)).numpy()
    np.testing.assert_allclose(np.load(tmp_path / SCORES), logits, atol=1e-6)
    (served,) = ort.InferenceSession(str(tmp_path / GRAPH)).run(["scores"], {"rows": pixels})
    np.testing.assert_allclose(served, logits, atol=1e-5)


Content = Callable[[], "dict[str, bytes | str]"]


@pytest.mark.parametrize(
    ("content", "model", "said"),
    [
        (lambda: {"patches.py": "import nowhere"}, {"modelFile": "patches.py"}, "cannot be imported: ModuleNotFound"),
        (lambda: {"patches.py": "x = 1"}, {"modelFile": "patches.py"}, "must define one class .* but defines none"),
        (lambda: {"patches.py": TWO_NETWORKS}, {"modelFile": "patches.py"}, "but defines Other, Patches"),
        (lambda: {"patches.py": WITH_ARGUMENTS}, {"modelFile": "patches.py"}, "cannot be made without arguments"),
        (
            lambda: {"patches.py": NETWORK, "w.pt": saved({"other": torch.zeros(1)})},
            {"modelFile": "patches.py", "serializedFile": "w.pt"},
            r"w.pt in .* is no state dict of the network beside it: Error\(s\) in loading",
        ),
        (
            lambda: {"patches.py": NETWORK, "w.pt": b"weights"},
            {"modelFile": "patches.py", "serializedFile": "w.pt"},
            "w.pt in .* is no state dict of the network beside it",
        ),
        (lambda: {"w.pt": b"weights"}, {"serializedFile": "w.pt"}, r"w.pt in .* is no TorchScript"),
        (dict, {}, "holds no model: its MANIFEST.json names neither a serializedFile nor a modelFile"),
    ],
)
def test_an_archive_that_torchserve_could_not_load_is_refused(
    tmp_path: Path, content: Content, model: dict[str, str], said: str
) -> None:
    with pytest.raises(Refusal, match=said) as refused:
        ask(tmp_path, archive=str(write_archive(tmp_path / "a.mar", content(), **model)))
    assert "\n" not in str(refused.value)


def test_columns_are_those_of_the_first_weights(tmp_path: Path) -> None:
    table = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    save_traced(table, [4], tmp_path / "table.pt")
    assert ask(tmp_path, None, file=str(tmp_path / "table.pt")) == {
        "shape": [4],
        "classes": 3,
        "are_probabilities": False,
    }
    with pytest.raises(Refusal, match=r"does not take rows of \[5\]: .*mat1 and mat2"):
        ask(tmp_path, [5], file=str(tmp_path / "table.pt"))
    save_traced(network(), PIXELS, tmp_path / "images.pt")
    with pytest.raises(Refusal, match="does not tell how many columns it takes"):
        ask(tmp_path, None, file=str(tmp_path / "images.pt"))


def test_weights_alone_are_no_network(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_bytes(saved(network().state_dict()))
    with pytest.raises(Refusal, match=r"is no TorchScript, .* Of weights alone, name a function that makes the net"):
        ask(tmp_path, file=str(tmp_path / "weights.pt"))


def test_the_process_apart_starts_without_what_starts_threads() -> None:
    code = "import sys, conch_tools.build.torch_apart; print({'numpy', 'torch'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"
