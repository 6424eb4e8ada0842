"""Everything that one check found, as one value: what the report shows and the JSON file holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from conch_tools.files import now
from conch_tools.gpu_check.gpus import GpuFindings, find_gpus
from conch_tools.gpu_check.runtimes import Runtime, find_runtimes
from conch_tools.machine import Machine, this_machine

if TYPE_CHECKING:
    from conch_tools.gpu_check.samples import ServedSamples


@dataclass(frozen=True)
class Findings:
    """What the machine is, what it has, and what came of running the pipelines."""

    date: str
    machine: Machine
    gpu: GpuFindings
    runtimes: Sequence[Runtime]
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Pipelines that were not run, each with the reason."""
    served: ServedSamples | None = None
    failure: str | None = None
    """Why the server did not start."""

    @property
    def device(self) -> str:
        """Where the pipelines run, in a sentence."""
        if not self.gpu.gpus:
            return f"No GPU here ({self.gpu.absent}): everything runs on the CPU."
        return (
            "The embedded server computes on the CPU, also beside a GPU: "
            "GPU backends come with NVIDIA's containers and the profiles for them."
        )

    def as_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return {**asdict(self), "device": self.device}


def look() -> Findings:
    """The machine, its GPUs and its runtimes; nothing is started."""
    return Findings(now(), this_machine(), find_gpus(), find_runtimes())
