"""The module `triton_python_backend_utils`, put together for one step or for whichever step is running."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any, Protocol

from conch_tools.check.sources.source import ADDED_AFTER_IMPORT
from conch_tools.errors import ContractBroken
from conch_tools.step_kit import exchange, metrics, model_config, tensors

NAME = "triton_python_backend_utils"
C_NAME = "c_python_backend_utils"
LOG_LEVELS = ("INFO", "WARNING", "ERROR", "VERBOSE")


class Runtime(Protocol):
    """What of the module belongs to one step."""

    model_dir: str
    logs: list[tuple[str, str]]
    metrics: metrics.Metrics
    server: ModelControl

    def call(self, request: exchange.InferenceRequest, decoupled: bool) -> list[exchange.InferenceResponse]:
        """Ask another model."""


@dataclass
class ModelControl:
    """The models of the server that does not run, as `load_model` and its companions know them."""

    ready: set[str] = field(default_factory=set)

    def load_model(self, model_name: str, config: str = "", files: Mapping[str, bytes] | None = None) -> None:
        self.ready.add(model_name)

    def unload_model(self, model_name: str, unload_dependents: bool = False) -> None:
        self.ready.discard(model_name)

    def is_model_ready(self, model_name: str, model_version: str = "") -> bool:
        return model_name in self.ready


running: ContextVar[Runtime | None] = ContextVar("running step", default=None)
"""The step whose code this thread runs; unknown in threads that a step has started itself."""


def stand_in(step: Callable[[], Runtime]) -> ModuleType:
    """The module; `step` tells whose it is, each time that it matters."""
    module = ModuleType(NAME)
    vars(module).update(
        {name: getattr(model_config, name) for name in model_config.__all__},
        serialize_byte_tensor=tensors.serialize_byte_tensor,
        deserialize_bytes_tensor=tensors.deserialize_bytes_tensor,
        Tensor=tensors.Tensor,
        TritonModelException=tensors.TritonModelException,
        TritonError=exchange.TritonError,
        InferenceResponse=exchange.InferenceResponse,
        InferenceRequest=type("InferenceRequest", (exchange.InferenceRequest,), {"caller": staticmethod(step)}),
        MetricFamily=type("MetricFamily", (metrics.MetricFamily,), {"registry": staticmethod(lambda: step().metrics)}),
        Logger=_logger(step),
        PreferredMemory=lambda preferred_memory_type, preferred_device_id=0: None,
        get_model_dir=lambda: step().model_dir,
        load_model=lambda *args, **kwargs: step().server.load_model(*args, **kwargs),
        unload_model=lambda *args, **kwargs: step().server.unload_model(*args, **kwargs),
        is_model_ready=lambda *args, **kwargs: step().server.is_model_ready(*args, **kwargs),
        TRITONSERVER_REQUEST_FLAG_SEQUENCE_START=1,
        TRITONSERVER_REQUEST_FLAG_SEQUENCE_END=2,
        TRITONSERVER_RESPONSE_COMPLETE_FINAL=exchange.FINAL,
        TRITONSERVER_REQUEST_RELEASE_ALL=exchange.RELEASE_ALL,
        TRITONSERVER_REQUEST_RELEASE_RESCHEDULE=exchange.RELEASE_RESCHEDULE,
        TRITONSERVER_MEMORY_GPU=0,
        TRITONSERVER_MEMORY_CPU=1,
    )
    return module


@contextlib.contextmanager
def without_what_comes_later(module: ModuleType) -> Iterator[None]:
    """The module as a step finds it while its own code is imported: Triton completes it afterwards."""
    later = {name: value for name, value in vars(module).items() if name in ADDED_AFTER_IMPORT}
    for name in later:
        delattr(module, name)
    try:
        yield
    finally:
        vars(module).update(later)


def _logger(step: Callable[[], Runtime]) -> Any:
    def log(message: str, level: str = "INFO") -> None:
        step().logs.append((level, message))

    return SimpleNamespace(
        **{level: level for level in LOG_LEVELS},
        log=log,
        log_info=lambda message: log(message, "INFO"),
        log_warn=lambda message: log(message, "WARNING"),
        log_error=lambda message: log(message, "ERROR"),
        log_verbose=lambda message: log(message, "VERBOSE"),
    )


def _running() -> Runtime:
    step = running.get()
    if step is None:
        raise ContractBroken(
            f"`{NAME}` was used by an installed package outside of a step's own call, so it cannot be told which step "
            "it meant: hand the module to the package as an argument"
        )
    return step


class ForInstalledPackages(MetaPathFinder, Loader):
    """Gives Triton's module to installed packages that import it themselves, while any step is loaded."""

    def __init__(self) -> None:
        self._steps = 0

    def add(self) -> None:
        self._steps += 1
        if self._steps == 1:
            sys.meta_path.append(self)

    def remove(self) -> None:
        self._steps -= 1
        if not self._steps:
            sys.meta_path.remove(self)
            sys.modules.pop(NAME, None)

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name == NAME else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return stand_in(_running)

    def exec_module(self, module: ModuleType) -> None:
        return


for_installed_packages = ForInstalledPackages()
