"""Rules about /dev/shm, through which Triton and the processes of Python models exchange tensors.

Each instance has a region of its own there. It begins with 1 MiB, grows to the largest batch that was ever under way,
and never shrinks (`python_backend`: `src/shm_manager.cc`, `README.md`). Containers get 64 MiB unless told otherwise,
and when it is full requests fail. What is counted here is the least that is needed: of open dims one element, of texts
nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from conch_tools.check.adaptors import SourceFile, source_files
from conch_tools.check.completion import completed
from conch_tools.check.findings import Place, Problem, Severity
from conch_tools.check.repository import Model, Repository, Tensor
from conch_tools.check.rulebook import Rulebook
from conch_tools.data_types import bytes_of

_MIB = 1 << 20
_CONTAINER_BYTES = 64 * _MIB
"""What Docker and Kubernetes give a container's /dev/shm by default."""
_REGION_BYTES = _MIB
"""What a region begins with."""
_DEFAULT_INSTANCES = {"onnxruntime": 2}
"""How many instances core gives a backend of this name on a CPU, where the configuration says nothing: else 1."""

_CURE = (
    "run the container with `--shm-size {size}m`; in Kubernetes mount an emptyDir with medium Memory and "
    "sizeLimit {size}Mi at /dev/shm"
)


@dataclass(frozen=True, eq=False)
class Stubs:
    """The processes that serve one model, with what their largest batch holds."""

    model: Model
    instances: int
    batch_bytes: int

    @property
    def region_bytes(self) -> int:
        """What the region of each instance grows to."""
        return max(_REGION_BYTES, self.batch_bytes)


@dataclass(frozen=True, eq=False)
class AllStubs:
    """The processes of a whole repository."""

    repository: Repository
    stubs: tuple[Stubs, ...]

    @property
    def needed_bytes(self) -> int:
        """What all regions grow to, with one for the process that completes configurations while models load."""
        return sum(each.instances * each.region_bytes for each in self.stubs) + _REGION_BYTES


def stubs(repository: Repository) -> Iterator[Stubs]:
    """The processes of every model that is served by Python."""
    seen: set[str] = set()
    for file in source_files(repository):
        for model in _each_once(file, seen):
            loaded = completed(model)
            rows = max(1, loaded.max_batch_size)
            tensors = (*loaded.inputs, *loaded.outputs)
            yield Stubs(model, _instances(model), rows * sum(_row_bytes(tensor) for tensor in tensors))


def _all_stubs(repository: Repository) -> Iterator[AllStubs]:
    yield AllStubs(repository, tuple(stubs(repository)))


STUBS = Rulebook[Stubs](stubs)
REPOSITORIES = Rulebook[AllStubs](_all_stubs)


@STUBS.rule("SHM001", Severity.WARNING)
def batch_larger_than_a_container_has(served: Stubs) -> Iterator[Problem]:
    """One full batch of a model in Python is larger than the shared memory of a container.

    Inputs and outputs of a batch pass through /dev/shm, which has 64 MiB by default; when they do not fit, the
    requests fail.

    Bad in `embed/config.pbtxt`:

        output { name: "embedding" data_type: TYPE_FP32 dims: [ 4000000 ] }

    Good:

        output { name: "embedding" data_type: TYPE_FP32 dims: [ 2 ] }
    """
    if served.batch_bytes > _CONTAINER_BYTES:
        rows = max(1, served.model.config.max_batch_size)
        what = f"a batch of {rows} holds {_mib(served.batch_bytes)} MiB, /dev/shm of a container 64 MiB by default"
        cure = _CURE.format(size=_mib(2 * served.instances * served.batch_bytes))
        yield Problem(served.model.place(served.model.marks.at("max_batch_size")), what, cure)


@REPOSITORIES.rule("SHM002", Severity.WARNING)
def repository_larger_than_a_container_has(all_stubs: AllStubs) -> Iterator[Problem]:
    """The models in Python together need more shared memory than a container has.

    Each instance keeps a region in /dev/shm as large as its largest batch was; containers have 64 MiB by default. Once
    it is full, models do not load or their requests fail.

    Bad in `embed/config.pbtxt`:

        instance_group { count: 80 kind: KIND_CPU }

    Good:

        instance_group { kind: KIND_CPU }
    """
    needed = all_stubs.needed_bytes
    if needed > _CONTAINER_BYTES and all(each.batch_bytes <= _CONTAINER_BYTES for each in all_stubs.stubs):
        count = sum(each.instances for each in all_stubs.stubs)
        what = f"{count} instances in Python need {_mib(needed)} MiB in /dev/shm, a container has 64 MiB by default"
        place = Place(all_stubs.repository.folder)
        yield Problem(place, what, _CURE.format(size=_mib(2 * needed)))


def _each_once(file: SourceFile, seen: set[str]) -> Iterator[Model]:
    for model in file.models:
        if model.name not in seen:
            seen.add(model.name)
            yield model


def _instances(model: Model) -> int:
    """How many processes serve a model on one device."""
    groups = model.config.instance_group
    if not groups:
        return _DEFAULT_INSTANCES.get(model.backend.name, 1)
    return sum(max(1, group.count) * max(1, len(group.gpus)) for group in groups)


def _row_bytes(tensor: Tensor) -> int:
    """The least that one row of a tensor holds."""
    return math.prod(max(size, 1) for size in tensor.dims) * bytes_of(tensor.data_type)


def _mib(count: int) -> int:
    return math.ceil(count / _MIB)
