"""Every setting of the `conch` command, in one place: environment variables named CONCH_<FIELD>.

Command-line options override them; nothing else in the package reads the environment for a setting.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from conch_tools.errors import SettingsError

Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
SMALLEST_CACHE_BYTES = 1 << 20
"""Triton's own cache refuses to start with next to nothing, and does not say why."""
LARGEST_CACHE_BYTES = 1 << 40


def project_root() -> Path:
    """The checkout this package is installed from (editable), else the folder the command is run in."""
    checkout = Path(__file__).resolve().parents[2]
    return checkout if (checkout / "model_repository").is_dir() else Path.cwd()


class Settings(BaseSettings):
    """Where things are, on which ports they listen and how long they may take."""

    model_config = SettingsConfigDict(env_prefix="CONCH_", extra="ignore", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _said(cls, value: object) -> object:
        # An empty host would be every address of the machine, an empty path the folder the command is run in.
        if value == "":
            raise ValueError("it is empty: give it a value, or unset it for the default")
        return value

    @field_validator("response_cache_bytes")
    @classmethod
    def _worth_having(cls, value: int) -> int:
        if 0 < value < SMALLEST_CACHE_BYTES:
            raise ValueError(f"give it {SMALLEST_CACHE_BYTES} bytes or more, or 0 for no cache")
        return value

    repository: Path = Field(default_factory=lambda: project_root() / "model_repository")
    """The model repository that is built and served."""

    backends: Path = Field(default_factory=lambda: project_root() / "python_backends")
    """The folder of Conch's Python-based backends; each of its folders with a model.py is one."""

    state: Path = Field(default_factory=lambda: project_root() / ".conch")
    """Keys, logs, staged builds and the record of a detached server."""

    host: str = "127.0.0.1"
    """The address Triton listens on. The embedded release must never face a network: see docs/architecture.md."""

    http_port: Port = 8000
    """Triton's HTTP endpoint."""

    grpc_port: Port = 8001
    """Triton's gRPC endpoint."""

    metrics_port: Port = 8002
    """Triton's Prometheus metrics."""

    profile: str | None = None
    """Hardware profile: Triton's --model-config-name, the stem of <model>/configs/<profile>.pbtxt."""

    response_cache_bytes: Annotated[int, Field(ge=0, le=LARGEST_CACHE_BYTES)] = 64 * 1024 * 1024
    """Size of Triton's local response cache, for the models that enable it; 0 switches it off."""

    start_timeout_s: Seconds = 180.0
    """How long all models together may take to load."""

    stop_timeout_s: Annotated[Seconds, Field(gt=1)] = 3.5
    """How long a stopping server may take before its processes are killed."""

    answer_timeout_s: Seconds = 30.0
    """How long one request that the command sends by itself may take."""

    require_signatures: bool = False
    """Whether only signed releases are served, loaded and called as they were built."""

    signature_keys: Path | None = None
    """The keys that are trusted to sign: a file, or a folder of *.pub."""

    health_port: Port = 8003
    """Liveness, readiness by golden requests, and the metrics of healing, over HTTP."""

    heal: bool = True
    """Whether dead parts of a server that the command holds are brought back; otherwise they are only told."""

    golden_interval_s: Annotated[float, Field(gt=0)] = 3.0
    """How often every pipeline is asked its golden requests."""

    golden_timeout_s: Annotated[float, Field(gt=0)] = 3.0
    """How long an answer to a golden request may take before it is looked into."""

    busy_limit_s: Annotated[float, Field(gt=0)] = 120.0
    """How long a pipeline may work on without completing anything before it counts as hung."""

    memory_budget_mib: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """How much memory the server and its steps may take together, as `conch up` shows it. Beyond it the pipelines that
    were not asked for longest leave, and come back on demand: see docs/memory.md. Without it all of them stay."""

    memory_hold_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 30.0
    """How long a pipeline stays in memory at least after it was used or loaded."""


def load_settings(**overrides: object) -> Settings:
    """Settings from the environment, overridden by the arguments that are not None.

    Raises SettingsError, naming the variable, when a value is not usable.
    """
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as problem:
        first = problem.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        why = first["msg"].lower().removeprefix("value error, ")
        raise SettingsError(f"CONCH_{name.upper()}={first['input']!r} is not usable: {why}") from problem
