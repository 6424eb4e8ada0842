"""Rules about the other models that a model.py asks. The body of `execute` begins in line 6 of the source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from conch_tools.check import Finding

Check = Callable[[Mapping[str, str | bytes]], list[Finding]]

CONFIG = """\
backend: "python"
input { name: "x" data_type: TYPE_FP32 dims: [ 4 ] }
output { name: "y" data_type: TYPE_FP32 dims: [ 4 ] }
"""
SOURCE = """\
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        x = pb_utils.get_input_tensor_by_name(request, "x")
        ask = pb_utils.InferenceRequest(model_name="twice", inputs=[pb_utils.Tensor("x", x.as_numpy())], requested_output_names=["y"])
        first = ask.exec()
        if first.has_error():
            raise pb_utils.TritonModelException(first.error().message())
        again = pb_utils.InferenceRequest(model_name="twice", inputs=[pb_utils.Tensor("x", x.as_numpy())], requested_output_names=["y"])
        second = again.exec()
        if second.has_error():
            raise pb_utils.TritonModelException(second.error().message())
        y = pb_utils.get_output_tensor_by_name(second, "y").as_numpy()
        z = pb_utils.get_output_tensor_by_name(first, "y").as_numpy()
        return pb_utils.InferenceResponse([pb_utils.Tensor("y", y + z)])
"""  # noqa: E501
SECOND = SOURCE[SOURCE.index("        if second") : SOURCE.index("        y = ")]


@pytest.fixture
def check_call(check: Check) -> Callable[[str], list[tuple[str, int | None, str]]]:
    """Check the source beside the model `twice` that it asks: code, line and cure of each finding."""

    def run(source: str) -> list[tuple[str, int | None, str]]:
        files = {"m/config.pbtxt": CONFIG, "m/1/model.py": source, "twice/config.pbtxt": CONFIG, "twice/1/model.py": ""}
        return [(finding.code, finding.line, finding.cure) for finding in check(files)]

    return run


CheckCall = Callable[[str], list[tuple[str, int | None, str]]]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        (SECOND, "        self.verify(second)\n"),
        (SECOND, "        if first.has_error() or second.has_error():\n            raise ValueError\n"),
        (SECOND, "        assert not second.has_error()\n"),
        (SECOND, "        error = second.error()\n        if error is not None:\n            raise ValueError\n"),
        (SECOND, "        if second.error() is not None:\n            raise ValueError\n"),
        ('"twice"', "self.other"),
        ("again.exec()", "self.client.exec()"),
        ("second = again.exec()", "second = again.exec() if self.twice else first"),
        ("again.exec()", "again.exec(decoupled=True)"),
        ('[pb_utils.Tensor("x", x.as_numpy())]', "self.packed(x)"),
        ('[pb_utils.Tensor("x", x.as_numpy())]', "[x]"),
    ],
)
def test_calls_whose_errors_are_seen_or_nobody_can_tell_are_right(
    check_call: CheckCall, before: str, after: str
) -> None:
    assert check_call(SOURCE.replace(before, after)) == []


@pytest.mark.parametrize(
    ("before", "after", "code", "line", "cure"),
    [
        ("if second.has", "if first.has", "PYC003", 15, "did you mean `second.has_error()`?"),
        (SECOND, "", "PYC004", 14, "raise TritonModelException(second.error().message()) where it has one"),
        ('model_name="twice"', 'model_name="twise"', "PYC001", 9, "did you mean `twice`?"),
        ('requested_output_names=["y"]', 'requested_output_names=["Y"]', "PYC002", 9, "did you mean `y`?"),
        ('Tensor("x"', 'Tensor("X"', "PYC002", 9, "did you mean `x`?"),
        ('[pb_utils.Tensor("x", x.as_numpy())]', "[]", "PYC002", 9, "send it"),
    ],
)
def test_what_is_wrong_with_a_call_is_found(
    check_call: CheckCall, before: str, after: str, code: str, line: int, cure: str
) -> None:
    assert check_call(SOURCE.replace(before, after, 1)) == [(code, line, cure)]


def test_a_response_without_a_name_is_never_asked(check_call: CheckCall) -> None:
    read_at_once = SOURCE.replace(SECOND, "").replace("        second = again.exec()\n", "")
    read_at_once = read_at_once.replace('tensor_by_name(second, "y")', 'tensor_by_name(again.exec(), "y")')
    assert [(code, line) for code, line, _ in check_call(read_at_once)] == [("PYC004", 14)]
    assert check_call(read_at_once.replace("again.exec()", "self.checked(again.exec())")) == []


LISTED = "        inputs = []\n        inputs.append(pb_utils.Tensor('x', x.as_numpy()))\n        ask ="


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (("", ""), []),
        (("inputs = []", "inputs = self.common"), []),
        (("inputs.append(pb", "self.fill(inputs, pb"), []),
        (("inputs.append(pb", "inputs.insert(0, pb"), []),
        (("Tensor('x'", "Tensor('X'"), ["PYC002"]),
        (("inputs.append", "print"), ["PYC002"]),
    ],
)
def test_the_tensors_of_a_call_may_be_appended_to_a_list(
    check_call: CheckCall, change: tuple[str, str], found: list[str]
) -> None:
    listed = SOURCE.replace("        ask =", LISTED).replace(
        'inputs=[pb_utils.Tensor("x", x.as_numpy())]', "inputs=inputs", 1
    )
    assert [code for code, _, _ in check_call(listed.replace(*change))] == found


def test_an_awaited_call_is_one_as_well(check_call: CheckCall) -> None:
    awaited = SOURCE.replace(".exec()", ".async_exec()").replace("= a", "= await a").replace("def ", "async def ")
    assert check_call(awaited.replace("if second.has", "if first.has"))[0][:2] == ("PYC003", 15)


def test_a_request_that_is_never_sent_asks_nobody(check_call: CheckCall) -> None:
    lines = SOURCE.splitlines()
    unsent = "\n".join(
        (*lines[:9], "        return pb_utils.InferenceResponse([pb_utils.Tensor('y', x.as_numpy())])\n")
    )
    assert check_call(unsent.replace('"twice"', '"thrice"')) == []


def test_a_finding_is_in_the_source(check: Check, repository: Path) -> None:
    (finding,) = check(
        {
            "m/config.pbtxt": CONFIG,
            "m/1/model.py": SOURCE.replace('"twice"', '"m2"', 1),
            "twice/config.pbtxt": CONFIG,
            "twice/1/model.py": "",
        }
    )
    assert finding.file == repository / "m/1/model.py"


def test_a_name_of_any_depth_is_read(check_call: CheckCall) -> None:
    assert check_call(SOURCE + "\nDEEP = SOURCE" + ".part" * 1400 + "()\n") == []


HELPED = """\
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        x = pb_utils.get_input_tensor_by_name(request, "x")
        response = self.ask(x)
        y = pb_utils.get_output_tensor_by_name(response, "y").as_numpy()
        return pb_utils.InferenceResponse([pb_utils.Tensor("y", y)])

    def ask(self, x):
        request = pb_utils.InferenceRequest(model_name="twice", inputs=[pb_utils.Tensor("x", x.as_numpy())])
        return request.exec()
"""
LOOK = "        if response.has_error():\n            raise ValueError\n"
ANSWERED_LOOK = LOOK.replace("response", "answered")
NAMED = "        response = request.exec()\n        return response\n"
RETURNED = "        return request.exec()\n"
READ = '        y = pb_utils.get_output_tensor_by_name(response, "y").as_numpy()\n'
READER = "        y = self.read(response)\n"
READS = '\n    def read(self, answered):\n        return pb_utils.get_output_tensor_by_name(answered, "y").as_numpy()\n'
KEPT = HELPED.replace("request = pb", "self.b = pb").replace("return request.exec()", "return self.b.exec()")
GIVEN = (
    HELPED.replace("request.exec()", "self.send(request)")
    + "\n    def send(self, asked):\n        return asked.exec()\n"
)
KEPT_ANSWER = HELPED.replace("response = self.ask", "self.answered = self.ask").replace("(response,", "(self.answered,")


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (HELPED, 9),
        (HELPED.replace(RETURNED, NAMED), 9),
        (HELPED.replace("return request.exec()", "return self.again(request)")
         + "\n    def again(self, asked):\n        response = asked.exec()\n        return response\n", 9),
        (HELPED.replace("self.ask(x)", "await self.ask(x)").replace("request.exec()", "await request.async_exec()")
         .replace("def ", "async def "), 9),
        (KEPT, 9),
        (GIVEN, 9),
        (HELPED.replace(READ, READER) + READS, 9),
        (HELPED.replace("        response = self.ask(x)\n", "").replace("(response,", "(self.ask(x),"), 9),
        (HELPED.replace(READ, "        y = response.output_tensors()[0].as_numpy()\n"), 9),
        (HELPED.replace(READ, "").replace("response = self.ask(x)", "y = self.ask(x).output_tensors()[0]"), 9),
        (KEPT_ANSWER, 9),
    ],
)  # fmt: skip
def test_a_response_that_a_helper_brings_is_asked_by_somebody(check_call: CheckCall, source: str, line: int) -> None:
    assert [(code, line) for code, line, _ in check_call(source)] == [("PYC004", line)]


@pytest.mark.parametrize(
    "source",
    [
        HELPED.replace(READ, LOOK + READ),
        HELPED.replace(RETURNED, NAMED.replace("        return", LOOK + "        return")),
        HELPED.replace(RETURNED, NAMED.replace("        return", "        self.verify(response)\n        return")),
        HELPED.replace(RETURNED, "        return self.verified(request.exec())\n"),
        HELPED.replace(READ, READER) + READS.replace("        return", ANSWERED_LOOK + "        return"),
        HELPED.replace(READ, "        self.verify(response)\n" + READ),
        KEPT.replace(READ, LOOK + READ),
        GIVEN.replace(READ, LOOK + READ),
        GIVEN + "\n    def other(self):\n        return self.send(self.something)\n",
        GIVEN + "\n    def others(self):\n        return map(self.send, self.something)\n",
        KEPT_ANSWER.replace("        y = pb", ANSWERED_LOOK.replace("if ", "if self.") + "        y = pb"),
        KEPT_ANSWER + "\n    def failed(self):\n        return self.answered.has_error()\n",
        HELPED.replace("    def ask", "    @retried\n    def ask"),
        HELPED.replace("request.exec()", "request.exec(decoupled=True)"),
    ],
)  # fmt: skip
def test_a_response_that_a_helper_brings_may_be_asked_anywhere(check_call: CheckCall, source: str) -> None:
    assert check_call(source) == []


def test_an_older_response_is_asked_though_helpers_bring_both(check_call: CheckCall) -> None:
    twice = HELPED.replace(READ, LOOK + "        second = self.ask(x)\n" + LOOK + READ.replace("(response", "(second"))
    assert [(code, line) for code, line, _ in check_call(twice)] == [("PYC003", 13)]


def test_a_request_that_is_kept_asks_a_model_as_well(check_call: CheckCall) -> None:
    sound = KEPT.replace(READ, LOOK + READ)
    assert [code for code, _, _ in check_call(sound.replace('"twice"', '"twise"'))] == ["PYC001"]
