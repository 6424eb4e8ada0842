"""A step in the kit: what it may do, what is caught, what is left behind."""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np
import pytest

from conch_tools.errors import ContractBroken, StepFailed, StepNotLoaded
from conch_tools.step_kit import Request, load_step

from .conftest import CONFIG, RAGGED, WriteModel

X = np.array([[1.0, 2.0]], np.float32)
ITERATIVE = CONFIG.replace("dynamic_batching {}", "sequence_batching { iterative_sequence: true }")
TELLS_HOW_MANY = """
def execute(self, requests):
    return [answer(np.full_like(x_of(request), len(requests))) for request in requests]
"""


def test_one_request_is_answered_with_arrays(write_model: WriteModel) -> None:
    with load_step(write_model()) as step:
        assert step.infer({"x": X})["y"].tolist() == [[1.0, 2.0]]
        assert step.infer({"x": [[3]]})["y"].dtype == np.float32


def test_an_error_is_raised_with_its_code(write_model: WriteModel) -> None:
    refusing = """
    def execute(self, requests):
        error = pb_utils.TritonError("no more", pb_utils.TritonError.UNAVAILABLE)
        return [pb_utils.InferenceResponse([], error) for _ in requests]
    """
    with load_step(write_model(refusing)) as step, pytest.raises(StepFailed, match="UNAVAILABLE: no more") as failed:
        step.infer({"x": X})
    assert (failed.value.code, failed.value.whole_execution) == ("UNAVAILABLE", False)


@pytest.mark.parametrize(
    ("config", "together"),
    [
        (CONFIG, [[2, 2, 1], [1, 1, 1]]),
        (RAGGED, [[3, 3, 3], [2, 2, 1]]),
        (CONFIG.replace("dynamic_batching {}", ""), [[1, 1, 1], [1, 1, 1]]),
    ],
    ids=["of equal shapes", "ragged", "without dynamic batching"],
)
def test_requests_share_an_execution_as_the_batcher_would_have_it(
    write_model: WriteModel, config: str, together: list[list[int]]
) -> None:
    different = [Request({"x": np.zeros((1, width), np.float32)}) for width in (2, 2, 3)]
    large = [Request({"x": np.zeros((rows, 2 + rows // 3), np.float32)}) for rows in (1, 3, 3)]
    with load_step(write_model(TELLS_HOW_MANY, config)) as step:
        for requests, expected in zip((different, large), together, strict=True):
            assert [int(reply.outputs["y"][0, 0]) for reply in step.execute(requests)] == expected


@pytest.mark.parametrize(
    ("method", "fault"),
    [
        (
            "return [answer(x_of(each).astype(np.float64)) for each in requests]",
            "TYPE_FP64, config.pbtxt says TYPE_FP32",
        ),
        ("return [answer(x_of(each)[0]) for each in requests]", r"the shape \[2\].* \[1,-1\]"),
        ("return [answer(np.ones((2, 2), np.float32)) for each in requests]", r"the shape \[2,2\].* \[1,-1\]"),
        ("return [pb_utils.InferenceResponse([]) for _ in requests]", "output `y` is missing"),
        ("return [None for _ in requests]", "it has no answer after 0.1 s"),
        ("return None", "it has no answer after 0.1 s"),
    ],
)
def test_what_triton_would_not_report_is_told(write_model: WriteModel, method: str, fault: str) -> None:
    folder = write_model(f"def execute(self, requests):\n    {method}\n")
    with load_step(folder, answer_timeout_s=0.1) as step, pytest.raises(ContractBroken, match=fault):
        step.infer({"x": X})


def test_a_step_keeps_its_hands_off_the_callers_arrays_and_what_it_returned(write_model: WriteModel) -> None:
    writing = """
    def execute(self, requests):
        self.kept = [x_of(request) for request in requests]
        for x in self.kept:
            x += 1
        return [answer(x) for x in self.kept]

    def finalize(self):
        self.kept[0][:] = 99
    """
    asked = X.copy()
    step = load_step(write_model(writing))
    answered = step.infer({"x": asked})["y"]
    step.close()
    assert asked.tolist() == X.tolist()
    assert answered.tolist() == [[2.0, 3.0]]


def test_cancelling_reaches_the_step(write_model: WriteModel) -> None:
    heeding = """
    def execute(self, requests):
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        if request.is_cancelled() and request.get_response_sender().is_cancelled():
            return pb_utils.InferenceResponse([], pb_utils.TritonError("too late", pb_utils.TritonError.CANCELLED))
        return answer(x_of(request))
    """
    gone, there = Request({"x": X}), Request({"x": X})
    gone.cancel()
    with load_step(write_model(heeding)) as step:
        replies = step.execute([gone, there])
    assert [reply.error and reply.error.code for reply in replies] == ["CANCELLED", None]


def test_logs_and_metrics_can_be_read(write_model: WriteModel) -> None:
    counting = """
    def initialize(self, args):
        family = pb_utils.MetricFamily("asked", "requests", pb_utils.MetricFamily.COUNTER)
        self.asked = family.Metric(labels={"of": args["model_name"]})
        sizes = pb_utils.MetricFamily("sizes", "values a request", pb_utils.MetricFamily.HISTOGRAM)
        self.sizes = sizes.Metric(buckets=[1.0, 10.0])

    def execute(self, requests):
        pb_utils.Logger.log_warn("asked")
        self.asked.increment(len(requests))
        for request in requests:
            self.sizes.observe(x_of(request).size)
        return [answer(x_of(request)) for request in requests]
    """
    with load_step(write_model(counting)) as step:
        step.infer({"x": X})
        assert step.logs == [("WARNING", "asked")]
        assert step.metrics.value("asked", of="small") == 1
        assert step.metrics.observed("sizes") == [X.size]


def test_a_metric_asked_for_what_it_cannot_do_is_told(write_model: WriteModel) -> None:
    wrong = """
    def execute(self, requests):
        pb_utils.MetricFamily("n", "d", pb_utils.MetricFamily.COUNTER).Metric().increment(-1)
    """
    with load_step(write_model(wrong)) as step, pytest.raises(ContractBroken, match="may end altogether"):
        step.infer({"x": X})


CALLING = """
def execute(self, requests):
    return [self._ask(request) for request in requests]

def _ask(self, request):
    call = pb_utils.InferenceRequest(
        model_name="other", requested_output_names=["y"], inputs=[pb_utils.Tensor("x", x_of(request))]
    )
    found = call.exec()
    if found.has_error():
        return pb_utils.InferenceResponse([], found.error())
    return answer(pb_utils.get_output_tensor_by_name(found, "y").as_numpy())
"""


def test_another_model_is_a_function_or_a_step(write_model: WriteModel) -> None:
    folder = write_model(CALLING)
    with load_step(folder, calls={"other": lambda inputs: {"y": inputs["x"] * 2}}) as step:
        assert step.infer({"x": X})["y"].tolist() == [[2.0, 4.0]]
    with load_step(write_model(name="other")) as other, load_step(folder, calls={"other": other}) as step:
        assert step.infer({"x": X})["y"].tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize(("version", "answered"), [(-1, True), (1, True), (2, False)])
def test_a_called_model_of_another_version_is_not_ready(write_model: WriteModel, version: int, answered: bool) -> None:
    folder = write_model(CALLING.replace('model_name="other"', f'model_name="other", model_version={version}'))
    with load_step(write_model(name="other")) as other, load_step(folder, calls={"other": other}) as step:
        if answered:
            assert step.infer({"x": X})["y"].tolist() == [[1.0, 2.0]]
            return
        with pytest.raises(StepFailed, match="Model 'other' is not ready"):
            step.infer({"x": X})


def test_an_error_of_a_called_model_loses_its_code_as_in_triton(write_model: WriteModel) -> None:
    def full(_: Any) -> Any:
        raise StepFailed("UNAVAILABLE", "Exceeds maximum queue size")

    with load_step(write_model(CALLING), calls={"other": full}) as step, pytest.raises(StepFailed) as failed:
        step.infer({"x": X})
    assert str(failed.value) == "INTERNAL: Exceeds maximum queue size"


def test_steps_of_one_name_and_files_of_one_name_live_side_by_side(write_model: WriteModel) -> None:
    using = """
    def execute(self, requests):
        import helper
        from helper import VALUE
        return [answer(np.full_like(x_of(request), helper.VALUE * VALUE)) for request in requests]
    """
    before = set(sys.modules)
    with (
        load_step(write_model(using, name="two", files={"helper.py": "VALUE = 2"})) as two,
        load_step(write_model(using, name="three", files={"helper.py": "VALUE = 3"})) as three,
    ):
        assert [int(step.infer({"x": X})["y"][0, 0]) for step in (two, three, two)] == [4, 9, 4]
        assert not {"helper", "model", "triton_python_backend_utils"} & (set(sys.modules) - before)
    assert set(sys.modules) - before == set()


@pytest.mark.parametrize(
    "importing",
    [
        "sys.path.append(os.path.dirname(__file__)); import my_utils",
        "sys.path.insert(0, os.path.dirname(__file__)); import my_utils",
        "sys.path = [*sys.path, os.path.join(os.path.dirname(__file__), '.')]; import my_utils",
        "import importlib; my_utils = importlib.import_module('my_utils')",
        "from importlib import import_module; my_utils = import_module('my_utils')",
        "import importlib.util; importlib.util.find_spec('json'); my_utils = importlib.import_module('my_utils')",
        "my_utils = __import__('my_utils')",
    ],
)
@pytest.mark.parametrize("when", ["initialize(self, args)", "execute(self, requests)"])
def test_each_step_has_its_own_files_however_it_imports_them_and_leaves_nothing_behind(
    write_model: WriteModel, importing: str, when: str
) -> None:
    path, modules = list(sys.path), set(sys.modules)
    telling = f"""
    def {when}:
        import os, sys
        {importing}
        self.number = my_utils.NUMBER
        return self.answers(requests) if "requests" in locals() else None

    def answers(self, requests):
        return [answer(np.full_like(x_of(request), self.number)) for request in requests]
    """
    if "initialize" in when:
        telling += "\n    def execute(self, requests):\n        return self.answers(requests)\n"
    folders = [write_model(telling, name=name, files={"my_utils.py": f"NUMBER = {name[-1]}"}) for name in ("a1", "a2")]
    with load_step(folders[0]) as first, load_step(folders[1]) as second:
        assert [step.infer({"x": X})["y"][0, 0] for step in (first, second, first)] == [1, 2, 1]
        assert "my_utils" not in sys.modules
    assert sys.path == path
    assert not [name for name in set(sys.modules) - modules if "my_utils" in name or name.startswith("_step")]


def test_a_folder_of_files_that_the_step_adds_to_its_path_is_its_own(write_model: WriteModel) -> None:
    lazily = """
    def initialize(self, args):
        import os, sys
        try:
            import my_utils
        except ImportError:
            sys.path.append(os.path.join(args["model_repository"], "lib"))

    def execute(self, requests):
        import my_utils
        return [answer(np.full_like(x_of(request), my_utils.NUMBER)) for request in requests]
    """
    folders = [write_model(lazily, name=name) for name in ("a1", "a2")]
    for folder in folders:
        (folder / "lib").mkdir()
        (folder / "lib" / "my_utils.py").write_text(f"NUMBER = {folder.name[-1]}")
    with load_step(folders[0]) as first, load_step(folders[1]) as second:
        assert [step.infer({"x": X})["y"][0, 0] for step in (first, second)] == [1, 2]


def test_an_import_in_a_thread_of_the_step_finds_the_same_module(write_model: WriteModel) -> None:
    late = """
    def execute(self, requests):
        import threading
        found = []

        def look():
            import triton_python_backend_utils as late
            found.append(late is pb_utils)

        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        return [answer(np.full_like(x_of(request), float(found[0]))) for request in requests]
    """
    with load_step(write_model(late)) as step:
        assert step.infer({"x": X})["y"].tolist() == [[1.0, 1.0]]


def test_one_execution_at_a_time(write_model: WriteModel) -> None:
    guarded = """
    inside = False

    def execute(self, requests):
        import time
        assert not TritonPythonModel.inside
        TritonPythonModel.inside = True
        time.sleep(0.005)
        TritonPythonModel.inside = False
        return [answer(x_of(request)) for request in requests]
    """
    with load_step(write_model(guarded)) as step:
        failures: list[Any] = []

        def ask() -> None:
            failures.extend(reply.error for reply in step.execute([Request({"x": X})]) if reply.error)

        callers = [threading.Thread(target=ask) for _ in range(8)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    assert failures == []


def test_a_step_that_calls_itself_is_told(write_model: WriteModel) -> None:
    selfish = CALLING.replace('"other"', '"small"')
    calls: dict[str, Any] = {}
    with load_step(write_model(selfish), calls=calls, answer_timeout_s=0.1) as step:
        calls["small"] = step
        with pytest.raises(ContractBroken, match="if it calls itself, that waits for ever"):
            step.infer({"x": X})


def test_a_decoupled_coroutine_streams_and_leaves_nothing_running(write_model: WriteModel) -> None:
    streaming = """
    async def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            sender.send(answer(x_of(request)))
            sender.send(answer(x_of(request) * 2), flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
    """
    decoupled = CONFIG + "model_transaction_policy { decoupled: true }"
    with load_step(write_model(streaming, decoupled)) as step:
        (reply,) = step.execute([Request({"x": X})])
        assert [each.outputs["y"].tolist() for each in reply.responses] == [[[1.0, 2.0]], [[2.0, 4.0]]]
        with pytest.raises(ContractBroken, match="there are 2 responses where one was expected"):
            step.infer({"x": X})
    assert "events of small" not in [thread.name for thread in threading.enumerate()]


def test_a_request_that_the_step_puts_back_is_executed_again(write_model: WriteModel) -> None:
    twice = """
    rounds = 0

    def execute(self, requests):
        TritonPythonModel.rounds += 1
        if TritonPythonModel.rounds < 3:
            for request in requests:
                request.set_release_flags(pb_utils.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE)
            return [None] * len(requests)
        return [answer(np.full_like(x_of(request), self.rounds)) for request in requests]
    """
    with load_step(write_model(twice, ITERATIVE)) as step:
        assert step.infer({"x": X})["y"].tolist() == [[3.0, 3.0]]
    with (
        load_step(write_model(twice, name="lost")) as step,
        pytest.raises(ContractBroken, match="only with `sequence_b"),
    ):
        step.infer({"x": X})


@pytest.mark.parametrize(
    ("methods", "said"),
    [
        (
            "async def execute(self, requests):\n    import asyncio\n    await asyncio.sleep(60)\n",
            "has not ended after",
        ),
        (
            "def execute(self, requests):\n"
            "    requests[0].set_release_flags(pb_utils.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE)\n"
            "    return [None]\n",
            "still puts a request back after",
        ),
    ],
    ids=["a coroutine", "a request put back"],
)
def test_what_never_ends_is_told_within_the_time_for_an_answer(
    write_model: WriteModel, methods: str, said: str
) -> None:
    folder = write_model(methods, ITERATIVE)
    with load_step(folder, answer_timeout_s=0.1) as step, pytest.raises(ContractBroken, match=said):
        step.infer({"x": X})
    assert "events of small" not in [thread.name for thread in threading.enumerate()]


def test_finalize_runs_once_and_a_closed_step_says_so(write_model: WriteModel) -> None:
    ending = """
    def initialize(self, args):
        self.family = pb_utils.MetricFamily("ended", "d", pb_utils.MetricFamily.GAUGE)

    def finalize(self):
        self.family.Metric().increment(1)
    """
    step = load_step(write_model(ending))
    step.close()
    step.close()
    assert step.metrics.value("ended") == 1
    with pytest.raises(ContractBroken, match="step `small` is closed"):
        step.infer({"x": X})


def test_a_step_that_exits_fails_its_execution_and_goes_on(write_model: WriteModel) -> None:
    methods = "def execute(self, requests):\n    raise SystemExit(3)"
    with load_step(write_model(methods)) as step:
        for _ in range(2):
            with pytest.raises(StepFailed, match="message: SystemExit: 3") as failed:
                step.infer({"x": [[1]]})
            assert failed.value.whole_execution


@pytest.mark.parametrize(
    ("config", "methods", "why"),
    [
        ("max_batch_size: many", "", "Couldn't parse integer"),
        ('name: "else"', "", "names the model `else`, its folder `small`"),
        ('backend: "unheard_of"', "", "say in which folder of Python-based backends it lies"),
        (CONFIG, "def initialize(self, args):\n    raise OSError('no file')", "OSError: no file\n\nAt:\n.*initialize"),
        (CONFIG, "def initialize(self, args):\n    raise SystemExit(3)", "SystemExit: 3\n\nAt:\n.*initialize"),
        (
            CONFIG,
            "@staticmethod\ndef auto_complete_config(config):\n    return 3",
            "must return a valid pb.ModelConfig",
        ),
    ],
)
def test_a_model_that_does_not_load_says_why(write_model: WriteModel, config: str, methods: str, why: str) -> None:
    before = set(sys.modules)
    with pytest.raises(StepNotLoaded, match=f"(?s){why}"):
        load_step(write_model(methods or "pass", config))
    assert set(sys.modules) - before == set()


def test_a_folder_that_is_not_there_and_one_without_a_version_are_told(write_model: WriteModel) -> None:
    folder = write_model()
    with pytest.raises(StepNotLoaded, match="there is no model folder"):
        load_step(folder.parent / "nobody")
    with pytest.raises(StepNotLoaded, match=r"has no .*/7/model\.py"):
        load_step(folder, version="7")
    (folder / "1" / "model.py").unlink()
    (folder / "1").rmdir()
    with pytest.raises(StepNotLoaded, match="has no version folder"):
        load_step(folder)


def test_what_is_no_array_is_told_with_the_inputs_name(write_model: WriteModel) -> None:
    with load_step(write_model()) as step:
        for value in ([[1], [1, 2]], [["a"]]):
            with pytest.raises(ValueError, match="input `x` is no array of TYPE_FP32"):
                step.infer({"x": value})


def test_what_triton_adds_after_the_import_is_not_there_before(write_model: WriteModel) -> None:
    folder = write_model()
    source = (folder / "1" / "model.py").read_text()
    (folder / "1" / "model.py").write_text(f"{source}\nlog = pb_utils.Logger\n")
    with pytest.raises(StepNotLoaded, match="module 'triton_python_backend_utils' has no attribute 'Logger'"):
        load_step(folder)


def test_a_file_without_the_class_is_told(write_model: WriteModel) -> None:
    folder = write_model()
    (folder / "1" / "model.py").write_text("class Model: pass\n")
    with pytest.raises(StepNotLoaded, match="has no class `TritonPythonModel`"):
        load_step(folder)
