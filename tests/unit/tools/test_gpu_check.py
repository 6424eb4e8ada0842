"""What `conch gpu-check` finds: GPUs and runtimes as they tell of themselves, and anything absent by name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from conch_tools.gpu_check.findings import Findings
from conch_tools.gpu_check.gpus import Gpu, GpuFindings, QueryFailed, find_gpus
from conch_tools.gpu_check.report import columns, machine_text, samples_text
from conch_tools.gpu_check.runtimes import Runtime, probe, triton_in_container
from conch_tools.gpu_check.samples import SampleTimes, ServedSamples, unbuilt_models
from conch_tools.machine import package_versions, this_machine
from conch_tools.pipelines import load_pipeline

SUMMARY = "| NVIDIA-SMI 560.35.05    Driver Version: 560.35.05    CUDA Version: 12.6     |"
PIPELINE = """
task = "image-classification"
description = "Digits."
[source]
training = "digits"
[[samples]]
input = { image = "seven.png" }
expect = { label = "7" }
"""


def findings(gpu: GpuFindings, served: ServedSamples | None = None) -> Findings:
    return Findings(
        date="2026-01-01T00:00:00+00:00",
        machine=this_machine(),
        gpu=gpu,
        runtimes=[Runtime("torch", "2.6", "CUDA 12.6, sees 1 GPU(s)"), Runtime("tensorrt", None, "not found")],
        skipped={"sentiment": "not built"},
        served=served,
    )


def smi(rows: str, summary: str = SUMMARY) -> GpuFindings:
    def query(arguments: Sequence[str]) -> str:
        return rows if arguments else summary

    return find_gpus(query)


def test_gpus_are_read_with_driver_and_cuda_version() -> None:
    found = smi("0, NVIDIA L4, 8.9, 23034, 560.35.05\n1, NVIDIA H200, 9.0, 143771, 560.35.05\n")
    assert found == GpuFindings(
        gpus=(Gpu(0, "NVIDIA L4", "8.9", 23034), Gpu(1, "NVIDIA H200", "9.0", 143771)),
        driver="560.35.05",
        cuda="12.6",
    )


@pytest.mark.parametrize("summary", ["CUDA Version : 13.0", "CUDA UMD Version: 13.0", "CUDA Version: 13.0 |"])
def test_the_cuda_version_is_found_however_the_driver_prints_it(summary: str) -> None:
    assert smi("0, NVIDIA L4, 8.9, 23034, 580.1", summary).cuda == "13.0"


def test_a_card_that_does_not_tell_its_memory_is_still_a_card() -> None:
    found = smi("0, NVIDIA GB10, 12.1, [N/A], 580.95.05", "no version here")
    assert found.gpus == (Gpu(0, "NVIDIA GB10", "12.1", 0),)
    assert found.cuda is None


def test_no_gpu_is_a_finding_with_its_reason() -> None:
    def absent(arguments: Sequence[str]) -> str:
        raise QueryFailed("nvidia-smi is not installed")

    assert find_gpus(absent) == GpuFindings(absent="nvidia-smi is not installed")
    assert smi("\n").absent == "nvidia-smi lists no GPU"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (
            "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18",
            "failed: Failed to initialize NVML",
        ),
        ("exit 9", "failed: exit code 9"),
        ("sleep 30", "did not answer within"),
    ],
)
def test_an_nvidia_smi_in_trouble_is_no_gpu(
    script: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script.replace('sleep', 'exec sleep')}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr("conch_tools.gpu_check.gpus.TIMEOUT_S", 0.5)
    assert reason in str(find_gpus().absent)


def test_a_runtime_tells_version_and_detail() -> None:
    assert probe("it", "print('noise')\ntell('1.2', 'sees 1 GPU')") == Runtime("it", "1.2", "sees 1 GPU")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import a_runtime_that_nobody_has", "not found"),
        ("raise ImportError('libcudart.so.12: cannot open')", "ImportError: libcudart.so.12: cannot open"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "killed by signal 9"),
        ("while True: pass", "does not import within 2 s"),
    ],
)
def test_a_runtime_that_fails_is_a_finding(code: str, reason: str) -> None:
    found = probe("it", code, timeout_s=2.0)
    assert found.version is None
    assert reason in found.detail


def test_a_container_names_its_server_and_backends(tmp_path: Path) -> None:
    assert triton_in_container(tmp_path).version is None
    for folder in ("bin", "backends/tensorrt", "backends/onnxruntime"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "bin" / "tritonserver").touch()
    (tmp_path / "TRITON_VERSION").write_text("2.51.0\n")
    found = triton_in_container(tmp_path)
    assert (found.version, found.detail) == ("2.51.0", "backends: onnxruntime, tensorrt")


def test_packages_that_are_absent_have_no_version() -> None:
    versions = package_versions(["pytest", "a-package-that-nobody-has"])
    assert versions == {"pytest": pytest.__version__, "a-package-that-nobody-has": None}


def test_without_a_gpu_the_report_says_so_plainly() -> None:
    text = machine_text(findings(GpuFindings(absent="nvidia-smi is not installed")))
    assert "No GPU here (nvidia-smi is not installed): everything runs on the CPU." in text
    assert "tensorrt   -         not found" in text


def test_with_a_gpu_the_report_names_it_and_does_not_claim_to_use_it() -> None:
    text = machine_text(findings(GpuFindings((Gpu(0, "NVIDIA L4", "8.9", 23034),), "560.35.05", "12.6")))
    assert "NVIDIA L4   23034 MiB   compute capability 8.9" in text
    assert "driver 560.35.05, CUDA up to 12.6" in text
    assert "computes on the CPU, also beside a GPU" in text


def test_samples_are_shown_with_their_times_or_their_problem() -> None:
    samples = (
        SampleTimes("digits", "seven.png", "7 (0.99)", 150.0, 1.5, None),
        SampleTimes("embed", "a text", "-", 1.0, 1.0, "no such model"),
    )
    text = samples_text(findings(GpuFindings(absent="none"), ServedSamples("triton 2.51.0", 2.0, samples)))
    assert "not run: sentiment: not built" in text
    assert "triton 2.51.0, ready in 2.0 s" in text
    assert "digits     seven.png   7 (0.99)        150.0      1.5" in text
    assert "no such model" in text


def test_the_findings_are_plain_json() -> None:
    written = json.loads(json.dumps(findings(GpuFindings(absent="none")).as_json()))
    assert written["gpu"]["gpus"] == [] and written["served"] is None
    assert "everything runs on the CPU" in written["device"]


def test_columns_are_aligned_and_long_cells_cut() -> None:
    head, row = columns([("a", "b"), ("x" * 100, "y")])
    assert head.index("b") == row.index("y")
    assert row.split()[0].endswith("…")


def test_a_pipeline_with_a_model_that_is_not_built_is_found(tmp_path: Path) -> None:
    for model in ("digits", "digits_decode", "digits_model"):
        (tmp_path / model).mkdir()
        (tmp_path / model / "config.pbtxt").touch()
    (tmp_path / "digits" / "pipeline.toml").write_text(PIPELINE)
    (tmp_path / "digits" / "1").mkdir()
    (tmp_path / "digits_decode" / "1").mkdir()
    assert unbuilt_models(load_pipeline(tmp_path / "digits")) == ["digits_model"]
