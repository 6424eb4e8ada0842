"""What can go wrong in the `conch` command, as one tree.

    ConchError                  a sentence for people, and the exit code of the command
    ├── SettingsError           a setting or an argument is not usable
    ├── UnsuitableMachine       this machine, or its Python, lacks something the command needs
    ├── PortTaken               a port we must listen on belongs to another process
    ├── RepositoryError         the model repository cannot be served as it is
    │   └── PipelineFileError   a pipeline.toml cannot be read
    ├── ServerFailed            tritonserver did not start, or ended by itself
    ├── BuildError              a pipeline's artifacts could not be made
    │   └── ParityError         they were made, but their answers differ from the reference
    ├── AlreadyRunning          a server of this checkout already listens there
    ├── NotRunning              there is no server of this checkout to stop or to ask
    ├── WrongAnswers            the server runs, but a pipeline answers its sample wrongly
    ├── NoAnswer                a server refuses a request that is to be compared
    ├── NoAnswerInTime          a server lets such a request wait
    ├── CorpusError             a file of inputs cannot be read
    ├── StepNotLoaded           the step test kit cannot load a model.py, as Triton could not
    ├── StepFailed              a step under test answered a request with an error
    ├── ContractBroken          a step under test broke its promise to Triton in a way that Triton does not report
    ├── StoppedEarly            a signal asked to stop before everything was up (serve)
    ├── Refused                 a server refuses what is asked while a request is followed (xray.server)
    ├── ControlFailed           Triton refused a change, or did not answer in time (healing.control)
    │   └── Unanswered          it did not answer at all (healing.control)
    ├── AnotherLoad             another `conch load` is under way (healing.load)
    ├── ContenderFailed         one of those compared cannot be measured (bench.errors)
    ├── CandidateRejected       settings that are tried fail, whatever their speed (tune.errors)
    ├── NothingToTune           a pipeline has no step whose settings could be changed (tune.errors)
    └── ProfileTaken            a profile of that name was not written by a tuning (tune.errors)

Every message names what is wrong and what to do about it; the command line prints it alone, without a stack trace.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from pathlib import Path

CURES: Mapping[int | None, str] = {
    errno.ENOSPC: "make room there, or set CONCH_STATE and TMPDIR to where there is some",
    errno.EDQUOT: "make room there, or set CONCH_STATE and TMPDIR to where there is some",
    errno.EACCES: "let this user read and write there, or name another place",
    errno.EPERM: "let this user read and write there, or name another place",
    errno.EROFS: "name a place that can be written",
}
"""Of what the system refuses, by its number."""


class ConchError(Exception):
    """A failure with a sentence for people. `exit_code` is what the command ends with."""

    exit_code = 1


def in_words(problem: OSError) -> str:
    """What the system refused, and of which file. `shutil` collects such refusals; the first one says enough."""
    if problem.args and isinstance(problem.args[0], list) and problem.args[0]:
        *_, why = problem.args[0][0]
        return str(why)
    named = f": {problem.filename}" if problem.filename else ""
    return f"{problem.strerror or problem}{named}"


def with_cure(problem: OSError) -> str:
    """The same, and what helps, where the system's number tells."""
    return f"{in_words(problem)}: {CURES[problem.errno]}" if problem.errno in CURES else in_words(problem)


def first_line(problem: BaseException) -> str:
    """What another library says, as far as it belongs into a sentence of ours."""
    return (str(problem).strip() or type(problem).__name__).splitlines()[0]


class SettingsError(ConchError):
    """A setting or an argument is not usable."""

    exit_code = 2


class UnsuitableMachine(ConchError):
    """This machine, or its Python, lacks something the command needs."""

    exit_code = 3


class PortTaken(ConchError):
    """A port we must listen on belongs to another process."""

    exit_code = 4

    def __init__(self, port: int, purpose: str, variable: str, owner: str | None) -> None:
        super().__init__(port, purpose, variable, owner)
        self.port = port
        self._by = f" by {owner}" if owner else ""
        self._purpose, self._variable = purpose, variable

    def __str__(self) -> str:
        return (
            f"port {self.port} ({self._purpose}) is taken{self._by}: "
            f"stop that process, or set {self._variable} to a free port"
        )


class RepositoryError(ConchError):
    """The model repository cannot be served as it is."""

    exit_code = 5


class PipelineFileError(RepositoryError):
    """A pipeline.toml cannot be read. `faults` are its fields at fault, each with what is wrong with it."""

    def __init__(self, file: Path, faults: Sequence[tuple[tuple[str | int, ...], str]]) -> None:
        super().__init__(file, faults)
        self.file, self.faults = file, tuple(faults)

    def __str__(self) -> str:
        field, problem = self.faults[0]
        return f"{self.file}: {'.'.join(map(str, field)) or 'the file'}: {problem}"


class ServerFailed(ConchError):
    """tritonserver did not start, or ended by itself."""

    exit_code = 6


class BuildError(ConchError):
    """A pipeline's artifacts could not be made."""

    exit_code = 7

    def __init__(self, pipeline: str, problem: str) -> None:
        super().__init__(pipeline, problem)
        self.pipeline, self.problem = pipeline, problem

    def __str__(self) -> str:
        return f"building `{self.pipeline}` failed: {self.problem}"


class ParityError(BuildError):
    """A pipeline was built, but its answers differ from the reference. `step` is the first step that differs."""

    def __init__(self, pipeline: str, step: str, problem: str) -> None:
        super().__init__(pipeline, problem)
        self.args = (pipeline, step, problem)
        self.step = step

    def __str__(self) -> str:
        return (
            f"building `{self.pipeline}` failed: `{self.step}` is the first step that differs "
            f"from the reference: {self.problem}"
        )


class AlreadyRunning(ConchError):
    """A server of this checkout already listens there."""

    exit_code = 8

    def __init__(self, pid: int, port: int) -> None:
        super().__init__(pid, port)
        self.pid, self.port = pid, port

    def __str__(self) -> str:
        return (
            f"Conch already serves on port {self.port} (process {self.pid}): "
            "scripts/down stops it, or set CONCH_HTTP_PORT, CONCH_GRPC_PORT, CONCH_METRICS_PORT and CONCH_HEALTH_PORT "
            "for a second one"
        )


class NotRunning(ConchError):
    """There is no server of this checkout to stop or to ask."""

    exit_code = 8


class WrongAnswers(ConchError):
    """The server runs, but a pipeline did not answer its sample request as its pipeline.toml says."""

    exit_code = 9


class NoAnswer(ConchError):
    """A server refuses, or does not answer, a request whose answer is to be compared."""


class NoAnswerInTime(ConchError):
    """A server lets a request whose answer is to be compared wait; the next ones would wait as long."""

    def __init__(self, model: str, problem: str) -> None:
        super().__init__(model, problem)
        self.model, self._problem = model, problem

    def __str__(self) -> str:
        return (
            f"`{self.model}` does not answer in time ({self._problem}): see whether its server is well, or raise "
            "CONCH_ANSWER_TIMEOUT_S"
        )


class CorpusError(ConchError):
    """A file of inputs cannot be read. `line` is the one at fault, from 1; None when it is the file."""

    exit_code = 2

    def __init__(self, file: Path, line: int | None, problem: str) -> None:
        super().__init__(file, line, problem)
        self.file, self.line, self.problem = file, line, problem

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{where}: {self.problem}"


class StepNotLoaded(ConchError):
    """The step test kit cannot load a model: its files, its config.pbtxt or its own code refuse."""


class StepFailed(ConchError):
    """A step under test, or Triton before it, answered a request with an error: what the caller would be told."""

    def __init__(self, code: str, message: str, *, whole_execution: bool = False) -> None:
        super().__init__(code, message)
        self.code = code
        """The name of Triton's error code, as INVALID_ARG."""
        self.message = message
        self.whole_execution = whole_execution
        """Whether every request of the execution got this error: an exception left `execute`, or what it gave back
        was no list of responses."""

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class ContractBroken(ConchError, AssertionError):
    """A step under test broke its promise to Triton in a way that Triton does not report, or a fuzzed mix of requests
    was answered otherwise than each of them alone.
    """
