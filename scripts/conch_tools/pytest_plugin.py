"""pytest plugin for tests of Triton Python steps: the fixture `load_step`.

Registered by an entry point, so every pytest run of an environment with this package imports it; what it needs is
imported by the fixture.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conch_tools.step_kit import Step

REPOSITORY, BACKENDS = "step_model_repository", "step_python_backends"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the models and the Python-based backends lie, from the root of the tests."""
    parser.addini(REPOSITORY, "the model repository that load_step takes models from", default="model_repository")
    parser.addini(BACKENDS, "the folder of Python-based backends of load_step", default="python_backends")


@pytest.fixture
def load_step(request: pytest.FixtureRequest) -> Iterator[Callable[..., Step]]:
    """Load a model by its name, or by the path of its folder; it is closed when the test has ended.

    What it calls are the other models of the repository, unless `calls` says what stands for them. The rest of the
    arguments is that of conch_tools.step_kit.load_step.
    """
    from conch_tools import step_kit

    root = request.config.rootpath
    repository, backends = (root / str(request.config.getini(name)) for name in (REPOSITORY, BACKENDS))

    def load(model: str | Path, calls: Mapping[str, Any] | None = None, **rest: Any) -> Step:
        targets = ChainMap[str, Any](dict(calls or {}), others)  # type: ignore[arg-type] # only the first is written to
        step = step_kit.load_step(repository / model, rest.pop("backends", backends), targets, **rest)
        return opened.enter_context(step)

    with ExitStack() as opened:
        others = opened.enter_context(step_kit.StepRepository(repository, backends))
        yield load
