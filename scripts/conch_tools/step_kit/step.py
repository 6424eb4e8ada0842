"""A Python step outside Triton: its real model.py, loaded and asked as Triton would load and ask it.

`execute` follows ProcessRequests and ProcessReturnedResponses of python_backend's pb_stub.cc.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from types import TracebackType
from typing import Any

from conch_tools.errors import ContractBroken, StepFailed, StepNotLoaded
from conch_tools.step_kit import core_rules
from conch_tools.step_kit.calls import Target, call
from conch_tools.step_kit.errand import Errand
from conch_tools.step_kit.exchange import FINAL, RELEASE_RESCHEDULE, InferenceRequest, InferenceResponse
from conch_tools.step_kit.imports import StepImports
from conch_tools.step_kit.metrics import Metrics
from conch_tools.step_kit.model_folder import ModelFolder
from conch_tools.step_kit.said import as_pybind_says
from conch_tools.step_kit.stand_in import (
    C_NAME,
    NAME,
    ModelControl,
    for_installed_packages,
    running,
    stand_in,
    without_what_comes_later,
)
from conch_tools.step_kit.talk import Reply, Request
from conch_tools.step_kit.tensors import Array, TritonModelException

_RAISED = (Exception, SystemExit)
"""What Triton takes for a failure of the model when it leaves its code; Ctrl-C is for the test to see."""
ANSWER_TIMEOUT_S = 10.0


class Step:
    """One instance of a model. Use it in a `with`, or `close` it: that runs `finalize`."""

    def __init__(
        self,
        model: ModelFolder,
        calls: Mapping[str, Target] | None = None,
        *,
        strict: bool = True,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> None:
        self.name = model.name
        self.version = model.version
        self.calls: Mapping[str, Target] = {} if calls is None else calls
        """The models that the step may call, by name."""
        self.logs: list[tuple[str, str]] = []
        """Level and message of everything that the step logged."""
        self.metrics = Metrics()
        self.server = ModelControl({model.name})
        self.model_dir = str(model.version_folder)
        self._model = model
        self._strict = strict
        self._timeout_s = answer_timeout_s
        self._may_call = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread: threading.Thread | None = None
        self._one_at_a_time = threading.Lock()
        self._instance: Any = None
        for_installed_packages.add()
        self._imports = self._fresh_imports()
        try:
            self.config = self._completed()
            self._instance = self._initialized()
            self._may_call = True
        except BaseException:
            self._forget()
            raise

    def __enter__(self) -> Step:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Run `finalize`, once. Raises what that raises."""
        instance, self._instance, self._may_call = self._instance, None, False
        if instance is None:
            return
        try:
            with self._running():
                if hasattr(instance, "finalize"):
                    instance.finalize()
        finally:
            self._forget()

    def infer(self, inputs: Mapping[str, Any], outputs: Sequence[str] = (), **rest: Any) -> dict[str, Array]:
        """Ask once: the outputs by name. `rest` as in Request.

        Raises StepFailed with the error that the caller would get, ContractBroken for what Triton would not report.
        """
        (reply,) = self.execute([Request(inputs, outputs, **rest)])
        return reply.outputs

    def execute(self, requests: Sequence[Request]) -> list[Reply]:
        """Ask all of them at once, as if they waited in the queue together: what each one got, in order.

        They are executed as Triton's batcher would have it, several together where the model's config.pbtxt allows it.
        Raises ContractBroken for what Triton would not report: a request without an answer, outputs that are not what
        config.pbtxt says (not with `strict=False`), a request that is put back again and again.
        """
        if self._instance is None:
            raise ContractBroken(f"step `{self.name}` is closed")
        errands = [Errand(self.config, request, self.decoupled, self._strict) for request in requests]
        waiting = [each for each in errands if not each.done.is_set()]
        deadline = time.monotonic() + self._timeout_s
        while waiting:
            for indices in core_rules.executions(self.config, [each.inputs for each in waiting]):
                self._execute_together([waiting[index] for index in indices])
            waiting = [each for each in waiting if each.rescheduled()]
            if waiting:
                self._require_another_round(deadline)
        if faults := [f"request {number}: {fault}" for number, each in enumerate(errands) for fault in each.faults]:
            raise ContractBroken(f"step `{self.name}` broke its promise to Triton:\n  " + "\n  ".join(faults))
        return [each.reply() for each in errands]

    def call(self, request: InferenceRequest, decoupled: bool) -> list[InferenceResponse]:
        """For the step's own code: ask one of `calls`."""
        if not self._may_call:
            raise TritonModelException("BLS is only supported during the 'execute' function.")
        return call(self.calls, request, decoupled)

    @property
    def decoupled(self) -> bool:
        """Whether it may answer a request with any number of responses."""
        return bool(self.config.get("model_transaction_policy", {}).get("decoupled"))

    @property
    def instance_name(self) -> str:
        return f"{self.name}_0_0"

    def _fresh_imports(self) -> StepImports:
        module = stand_in(lambda: self)
        code = self._model.code
        folders = [code.parent] if code.parent != self._model.version_folder else [code.parent, self._model.folder]
        return StepImports(folders, {NAME: module, C_NAME: module})

    def _completed(self) -> dict[str, Any]:
        """Triton completes a configuration in a process of its own, so nothing that is set there survives."""
        with self._loading():
            python_model = self._python_model()
            if not hasattr(python_model, "auto_complete_config"):
                return self._model.config
            module = self._imports(NAME)
            completed = python_model.auto_complete_config(module.ModelConfig(json.dumps(self._model.config)))
            if not isinstance(completed, module.ModelConfig):
                raise TritonModelException(
                    f"auto_complete_config function in model '{self.name}' must return a valid pb.ModelConfig object."
                )
        self._imports.forget()
        self._imports = self._fresh_imports()
        return dict(json.loads(json.dumps(completed.as_dict())))

    def _python_model(self) -> Any:
        with without_what_comes_later(self._imports(NAME)):
            module = self._imports.load(self._model.code)
        if not hasattr(module, "TritonPythonModel"):
            raise TritonModelException(f"{self._model.code} has no class `TritonPythonModel`")
        return module.TritonPythonModel

    def _initialized(self) -> Any:
        with self._loading():
            instance = self._python_model()()
            if hasattr(instance, "initialize"):
                instance.initialize(
                    {
                        "model_config": json.dumps(self.config),
                        "model_instance_kind": "CPU",
                        "model_instance_name": self.instance_name,
                        "model_instance_device_id": "0",
                        "model_repository": str(self._model.folder),
                        "model_version": self._model.version,
                        "model_name": self.name,
                    }
                )
        return instance

    @contextlib.contextmanager
    def _loading(self) -> Iterator[None]:
        try:
            with self._running(), self._imports.own_path():
                yield
        except _RAISED as problem:
            raise StepNotLoaded(f"model `{self.name}` cannot be loaded: {as_pybind_says(problem)}") from problem

    @contextlib.contextmanager
    def _running(self) -> Iterator[None]:
        before = running.set(self)
        try:
            yield
        finally:
            running.reset(before)

    def _execute_together(self, errands: Sequence[Errand]) -> None:
        with self._alone():
            try:
                requests = [each.request() for each in errands]
                self._take_returned(errands, requests, self._returned(requests))
            except ContractBroken:
                raise
            except _RAISED as problem:
                said = as_pybind_says(problem)
                message = f"Failed to process the request(s) for model '{self.instance_name}', message: {said}"
                for each in errands:
                    each.fail(StepFailed("INTERNAL", message, whole_execution=True))
        for each in errands:
            each.wait(self._timeout_s)

    def _require_another_round(self, deadline: float) -> None:
        """Raises ContractBroken where a request that was put back would not come again, or comes for ever."""
        if not self.config.get("sequence_batching", {}).get("iterative_sequence"):
            raise ContractBroken(
                f"step `{self.name}` puts a request back, and Triton executes it again only with "
                "`sequence_batching { iterative_sequence: true }` in config.pbtxt: its caller would wait for ever"
            )
        if time.monotonic() > deadline:
            raise ContractBroken(
                f"step `{self.name}` still puts a request back after {self._timeout_s:g} s: "
                "its caller would wait for ever; if it is slow, raise `answer_timeout_s`"
            )

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """An instance executes one batch after the other."""
        if not self._one_at_a_time.acquire(timeout=self._timeout_s):
            raise ContractBroken(
                f"step `{self.name}` is still executing after {self._timeout_s:g} s: if it calls itself, that waits "
                "for ever in Triton; if it is slow, raise `answer_timeout_s`"
            )
        try:
            yield
        finally:
            self._one_at_a_time.release()

    def _returned(self, requests: list[InferenceRequest]) -> Any:
        if not hasattr(self._instance, "execute"):
            raise TritonModelException(f"Python model {self._model.code} does not implement `execute` method.")
        with self._running():
            returned = self._instance.execute(requests)
            return self._run(returned) if asyncio.iscoroutine(returned) else returned

    def _take_returned(self, errands: Sequence[Errand], requests: Sequence[InferenceRequest], returned: Any) -> None:
        if returned is None:
            return
        if self.decoupled:
            raise TritonModelException(
                f"Python model '{self.instance_name}' is using the decoupled mode and the execute function must "
                "return None."
            )
        if not isinstance(returned, list):
            raise TritonModelException(f"Expected a list in the execute return, found type '{type(returned)}'.")
        if len(returned) != len(requests):
            raise TritonModelException(
                "Number of InferenceResponse objects do not match the number of InferenceRequest objects. "
                f"InferenceRequest(s) size is:{len(requests)}, and InferenceResponse(s) size is:{len(returned)}\n"
            )
        for request, response in zip(requests, returned, strict=True):
            if response is None:
                continue
            if request.release_flags == RELEASE_RESCHEDULE:
                raise TritonModelException(
                    "Expected a None object in the execute function return list for reschduled request, "
                    f"found type '{type(response)}'."
                )
            if not isinstance(response, InferenceResponse):
                raise TritonModelException(
                    "Expected an 'InferenceResponse' object in the execute function return list, "
                    f"found type '{type(response)}'."
                )
            request.get_response_sender().count(response, FINAL)
        for each, response in zip(errands, returned, strict=True):
            if response is not None:
                each.take_returned(response)

    def _run(self, coroutine: Any) -> Any:
        """A decoupled coroutine goes on while Triton takes the next requests; any other is waited for."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._loop_thread = threading.Thread(target=self._loop.run_forever, name=f"events of {self.name}")
            self._loop_thread.daemon = True
            self._loop_thread.start()
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        if not self.decoupled:
            if not wait([future], self._timeout_s).done:
                future.cancel()
                raise ContractBroken(
                    f"the coroutine `execute` of step `{self.name}` has not ended after {self._timeout_s:g} s: "
                    "its callers would wait for ever; if it is slow, raise `answer_timeout_s`"
                )
            return future.result()
        future.add_done_callback(self._log_failure)
        return None

    def _log_failure(self, future: Future[Any]) -> None:
        if problem := future.exception():
            self.logs.append(("ERROR", as_pybind_says(problem)))

    def _forget(self) -> None:
        self._imports.forget()
        for_installed_packages.remove()
        if self._loop is not None and self._loop_thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop_thread.join(self._timeout_s)
            if not self._loop_thread.is_alive():
                self._loop.close()


def load_step(
    folder: Path | str,
    backends: Path | str | None = None,
    calls: Mapping[str, Target] | None = None,
    *,
    version: str | None = None,
    strict: bool = True,
    answer_timeout_s: float = ANSWER_TIMEOUT_S,
) -> Step:
    """Load the model in `folder`, which holds its config.pbtxt, as Triton would.

    `backends` is the folder of Python-based backends, for models of a backend other than `python`; `calls` are the
    models that the step calls; with `strict=False` the kit lets through what Triton lets through.
    Raises StepNotLoaded with the reason.
    """
    where = None if backends is None else Path(backends)
    model = ModelFolder.read(Path(folder), where, version)
    return Step(model, calls, strict=strict, answer_timeout_s=answer_timeout_s)
