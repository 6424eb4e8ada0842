"""The findings as text. Plain columns, because a bare GPU machine need not have a library for prettier ones."""

from __future__ import annotations

from collections.abc import Sequence

from conch_tools.gpu_check.findings import Findings
from conch_tools.printable import shortened

GAP = "   "
LONGEST_CELL = 60


def machine_text(findings: Findings) -> str:
    """What the machine is and has."""
    gpu = findings.gpu
    cards = [
        (str(card.index), card.name, f"{card.memory_mib} MiB", f"compute capability {card.compute_capability}")
        for card in gpu.gpus
    ]
    driver = [f"driver {gpu.driver}, CUDA up to {gpu.cuda or 'unknown'}"] if gpu.gpus else []
    runtimes = [(runtime.name, runtime.version or "-", runtime.detail) for runtime in findings.runtimes]
    return "\n".join(
        [
            str(findings.machine),
            *columns([("GPU", "name", "memory", ""), *cards]) * bool(cards),
            *driver,
            findings.device,
            "",
            *columns([("runtime", "version", ""), *runtimes]),
        ]
    )


def samples_text(findings: Findings) -> str:
    """How the pipelines answered, and which were not asked."""
    lines = [f"not run: {name}: {why}" for name, why in findings.skipped.items()]
    if findings.served is not None:
        rows = [
            (each.pipeline, each.input, each.problem or each.answer, f"{each.first_ms:.1f}", f"{each.median_ms:.1f}")
            for each in findings.served.samples
        ]
        lines += [
            f"{findings.served.server}, ready in {findings.served.start_s:.1f} s",
            *columns([("pipeline", "input", "answer", "first ms", "median ms"), *rows]),
        ]
    return "\n".join(lines)


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as aligned lines; long cells are cut."""
    cells = [[shortened(cell, LONGEST_CELL) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
