"""Rules about requests that are left without a response: by a way through the loop, by an exception, by a `return`.

What is right is as much a part of them as what is wrong. The body of `execute` begins in line 6 of the source.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable

import pytest

from conch_tools.check import Finding

from .conftest import PYTHON, SOURCE

CheckSource = Callable[..., list[tuple[str, int | None]]]

BATCHED = "dynamic_batching { }"
READ = 'x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()'
ANSWER = 'pb_utils.InferenceResponse([pb_utils.Tensor("y", x.sum(axis=(1, 2)))])'
FAILED = "pb_utils.InferenceResponse(error=pb_utils.TritonError('no'))"
READ_AND_ADD = f"    {READ}\n    responses.append({ANSWER})\n"


def loop(body: str, begin: str = "responses = []", end: str = "return responses") -> str:
    """A loop over the requests, whose body is given without its indentation; it begins in line 8."""
    indented = "\n".join(f"    {line}" for line in body.strip("\n").splitlines())
    return f"{begin}\nfor request in requests:\n{indented}\n{end}\n"


SOUND = {
    "a condition with both ways": f"""
{READ}
if x.size:
    responses.append({ANSWER})
else:
    responses.append({FAILED})
""",
    "an error and continue": f"""
{READ}
if not x.size:
    responses.append({FAILED})
    continue
responses.append({ANSWER})
""",
    "an exception that is answered": f"""
try:
    {READ}
    responses.append({ANSWER})
except Exception as problem:
    responses.append({FAILED})
""",
    "an exception that fails the batch": f"""
try:
    {READ}
    responses.append({ANSWER})
except Exception as problem:
    self.logger.error(problem)
    raise
""",
    "an exception that is stood in for": f"""
try:
    {READ}
except Exception:
    x = np.zeros((1, 1, 4))
responses.append({ANSWER})
""",
    "in the end in any case": f"""
response = {FAILED}
try:
    {READ}
    response = {ANSWER}
except Exception:
    pass
finally:
    responses.append(response)
""",
    "a response before all that can fail": f"""
{READ}
response = {ANSWER}
try:
    responses.append(response)
    self.count(x)
except Exception:
    pass
""",
    "conditions that exclude each other": f"""
{READ}
if x.size:
    responses.append({ANSWER})
if not x.size:
    responses.append({FAILED})
""",
    "an error that is kept": f"""
{READ}
error = self.verify(x)
if error:
    responses.append({FAILED})
if error:
    continue
responses.append({ANSWER})
""",
    "all kinds there are": f"""
{READ}
if self.kind == "sum":
    responses.append({ANSWER})
elif self.kind == "mean":
    responses.append({ANSWER})
""",
    "a match": f"""
{READ}
match self.kind:
    case "sum":
        responses.append({ANSWER})
    case "mean":
        responses.append({FAILED})
""",
    "attempts": f"""
{READ}
for attempt in range(3):
    try:
        responses.append({ANSWER})
        break
    except OSError:
        continue
else:
    responses.append({FAILED})
""",
    "rows that are passed over": f"""
{READ}
for row in x:
    if row.size:
        continue
responses.append({ANSWER})
""",
    "a switch that is on": f"""
{READ}
if True:
    responses.append({ANSWER})
""",
    "by +=": f"{READ}\nresponses += [{ANSWER}]",
    "by extend": f"{READ}\nresponses.extend([{ANSWER}])",
    "a lock": f"{READ}\nwith self.lock:\n    responses.append({ANSWER})",
    "a return of all at the last one": f"{READ}\nresponses.append({ANSWER})\nif len(responses) == len(requests):\n"
    "    return responses",
    "one failure for all": f"""
{READ}
if not x.size:
    return [{FAILED} for _ in requests]
responses.append({ANSWER})
""",
    "one failure times all": f"""
{READ}
if not x.size:
    return [{FAILED}] * len(requests)
responses.append({ANSWER})
""",
    "a failure for the others": f"""
{READ}
if not x.size:
    for _ in range(len(requests) - len(responses)):
        responses.append({FAILED})
    return responses
responses.append({ANSWER})
""",
    "elsewhere": f"{READ}\nself.answer(responses, x)",
    "a list that others get": f"{READ}\nself.pool.add(responses)\nif x.size:\n    responses.append({ANSWER})",
}
PREFILLED = f"""
responses = [None] * len(requests)
for index, request in enumerate(requests):
    {READ}
    responses[index] = {ANSWER}
return responses
"""
FILLED_TWICE = f"""
responses = [None] * len(requests)
waiting = []
for index, request in enumerate(requests):
    {READ}
    if not x.size:
        responses[index] = {FAILED}
        continue
    waiting.append((index, x))
for index, x in waiting:
    responses[index] = {ANSWER}
return responses
"""
KEPT_FOR_NOW = f"""
self.responses = []
for request in requests:
    {READ}
    self.responses.append({ANSWER})
return self.responses
"""
INITIALIZE = """
    def initialize(self, args):
        self.responses = []
"""
STOPS = loop(f"try:\n    {READ}\n    responses.append({ANSWER})\nexcept ValueError as e:\n    self._stop(e)")
RAISING = """
    def _stop(self, problem):
        self.failures += 1
        if self.failures > 9:
            self._stop_for_good(problem)
        else:
            raise pb_utils.TritonModelException(str(problem))

    def _stop_for_good(self, problem):
        raise SystemExit(str(problem))
"""
HELPER = f"""
    def _add(self, responses, request):
        {READ}
        if x.size:
            responses.append({ANSWER})
        else:
            responses.append({FAILED})
"""
LOOPING_HELPER = f"""
    def _fill(self, responses, requests):
        for request in requests:
            self._add(responses, request)
{HELPER}
"""
MAKER = f"""
    def _one(self, request):
        {READ}
        if x.size:
            return {ANSWER}
        return {FAILED}
"""
WHOLE = "np.concatenate([pb_utils.get_input_tensor_by_name(request, 'x').as_numpy() for request in requests])"
JOINED = f"""
arrays = []
for request in requests:
    {READ}
    arrays.append(x)
sums = np.concatenate(arrays).sum(axis=(1, 2))
"""


@pytest.mark.parametrize("body", SOUND.values(), ids=SOUND)
def test_each_round_adds_a_response(check_source: CheckSource, body: str) -> None:
    assert check_source(loop(body), more=BATCHED) == []


@pytest.mark.parametrize(
    ("execute", "rest"),
    [
        ("return [self._one(r) for r in requests]", MAKER),
        (loop("responses.append(self._one(request))"), MAKER),
        (loop("self._add(responses, request)"), HELPER),
        (loop("self._add(request=request, responses=responses)"), HELPER),
        ("responses = []\nself._fill(responses, requests)\nreturn responses", LOOPING_HELPER),
        (STOPS, RAISING),
        (STOPS.replace("self._stop", "sys.exit"), ""),
        (STOPS.replace("self._stop", "ours.fail"), ""),
        ("return [self._one(r) for r in requests]", MAKER.replace(f"return {FAILED}", "self._stop(x)") + RAISING),
        (PREFILLED, ""),
        (FILLED_TWICE, ""),
        (KEPT_FOR_NOW, INITIALIZE),
        (KEPT_FOR_NOW.replace("self.responses = []", "self.responses.clear()"), INITIALIZE),
        (KEPT_FOR_NOW.replace("self.responses = []", "self._begin()"),
         INITIALIZE + "\n    def _begin(self):\n        self.responses = []\n"),
        ("return self._all(requests)", "    def _all(self, all):\n        return [self.one(r) for r in all]"),
        (JOINED + "ends = np.cumsum([len(x) for x in arrays])[:-1]\n"
         "return [pb_utils.InferenceResponse([pb_utils.Tensor('y', part)]) for part in np.split(sums, ends)]", ""),
        (JOINED + "return self.cut(sums, arrays)", ""),
        (JOINED.replace("concatenate", "stack") + "responses = []\nfor row in sums:\n"
         "    responses.append(pb_utils.InferenceResponse([pb_utils.Tensor('y', row)]))\nreturn responses", ""),
        (JOINED + "if len(requests) > 1:\n    raise ValueError\n"
         "return [pb_utils.InferenceResponse([pb_utils.Tensor('y', sums)])]", ""),
    ],
)  # fmt: skip
def test_other_ways_to_one_response_for_each_request(check_source: CheckSource, execute: str, rest: str) -> None:
    assert check_source(execute, more=BATCHED, rest=rest) == []


UNSOUND = {
    "a condition": (f"{READ}\nif x.size:\n    responses.append({ANSWER})", 9),
    "continue": (f"{READ}\nif not x.size:\n    continue\nresponses.append({ANSWER})", 10),
    "pass": (f"try:\n    {READ}\n    responses.append({ANSWER})\nexcept ValueError:\n    pass", 11),
    "log": (f"try:\n    {READ}\n    responses.append({ANSWER})\nexcept ValueError as e:\n    print(e)", 11),
    "caught and continue": (f"try:\n    {READ}\nexcept Exception:\n    continue\nresponses.append({ANSWER})", 11),
    "suppress": (f"with contextlib.suppress(ValueError):\n    {READ}\n    responses.append({ANSWER})", 8),
    "else of try": (f"try:\n    {READ}\nexcept ValueError:\n    pass\nelse:\n    responses.append({ANSWER})", 10),
    "by +=": (f"{READ}\nif x.size:\n    responses += [{ANSWER}]", 9),
    "by extend": (f"{READ}\nif x.size:\n    responses.extend([{ANSWER}])", 9),
    "last of a chain": (f"{READ}\nif x.size:\n    responses.append({ANSWER})\nelif x.ndim:\n    print(x)", 9),
    "attempts in vain": (
        f"for attempt in range(3):\n    {READ}\n    break\nelse:\n    continue\nresponses.append({ANSWER})",
        12,
    ),
}


@pytest.mark.parametrize(("body", "line"), UNSOUND.values(), ids=UNSOUND)
def test_a_way_without_a_response_is_an_error(check_source: CheckSource, body: str, line: int) -> None:
    assert check_source(loop(body), more=BATCHED) == [("PYR013", line)]
    assert check_source(loop(body)) == [("PYR013", line)]


@pytest.mark.parametrize(
    ("execute", "rest", "line"),
    [
        ("return [self._one(r) for r in requests if r.inputs()]", MAKER, 6),
        ("return [self._one(r) for r in requests]", MAKER.replace(f"        return {FAILED}\n", ""), 10),
        ("return [self._one(r) for r in requests]", MAKER.replace(f"return {FAILED}", "return None"), 10),
        (loop("responses.append(self._one(request))"), MAKER.replace(f"        return {FAILED}\n", ""), 13),
        (loop("self._add(responses, request)"), HELPER.replace(f"responses.append({FAILED})", "pass"), 13),
        (loop("self._add(responses, request)"), HELPER.replace(f"responses.append({FAILED})", "return"), 16),
        (
            "responses = []\nself._fill(responses, requests)\nreturn responses",
            LOOPING_HELPER.replace(f"responses.append({FAILED})", "pass"),
            16,
        ),
        (STOPS, RAISING.replace("raise pb_utils.", "self.last = "), 11),
        (PREFILLED.replace("    responses[", "    if not x.size:\n        continue\n    responses["), "", 10),
        (KEPT_FOR_NOW.replace("self.responses = []\n", ""), INITIALIZE, 9),
        (KEPT_FOR_NOW.replace("self.responses = []", "responses = self.responses").replace("return self.", "return "),
         INITIALIZE, 10),
        (KEPT_FOR_NOW.replace("self.responses = []\n", ""), "    responses = []\n", 9),
        (
            "return self._all(requests)",
            "    def _all(self, requests):\n        return [self.one(r) for r in requests if r.inputs()]\n",
            8,
        ),
    ],
)  # fmt: skip
def test_other_ways_to_another_number_of_responses(
    check_source: CheckSource, execute: str, rest: str, line: int
) -> None:
    assert check_source(execute, more=BATCHED, rest=rest) == [("PYR013", line)]


@pytest.mark.parametrize(
    ("execute", "finding"),
    [
        (loop(f"{READ}\nif not x.size:\n    return [{FAILED}]\nresponses.append({ANSWER})"), ("PYR002", 10)),
        (loop(f"{READ}\nif not x.size:\n    responses.append({FAILED})\n    return responses\n"
              f"responses.append({ANSWER})"), ("PYR002", 11)),
        (loop(f"try:\n    {READ}\nexcept ValueError:\n    return [{FAILED}]\nresponses.append({ANSWER})"),
         ("PYR002", 11)),
        (loop(f"{READ}\nif not x.size:\n    break\nresponses.append({ANSWER})"), ("PYR002", 10)),
        (loop(f"{READ}\nresponses.append({ANSWER})\nbreak"), ("PYR002", 10)),
        (JOINED + "return [pb_utils.InferenceResponse([pb_utils.Tensor('y', sums)])]", ("PYR002", 11)),
        (JOINED + "return [pb_utils.InferenceResponse([pb_utils.Tensor('y', row)]) for row in sums]", ("PYR004", 11)),
        (f"sums = {WHOLE}\nresponses = []\nfor row in sums:\n"
         "    responses.append(pb_utils.InferenceResponse([pb_utils.Tensor('y', row)]))\nreturn responses",
         ("PYR004", 9)),
        (loop(f"{READ}\nfor row in x:\n    responses += [pb_utils.InferenceResponse([pb_utils.Tensor('y', row)])]"),
         ("PYR004", 10)),
        ("return [pb_utils.InferenceResponse([pb_utils.Tensor('y', row)]) for r in requests for row in self.rows(r)]",
         ("PYR004", 6)),
    ],
)  # fmt: skip
def test_requests_that_are_left_or_joined_are_an_error(
    check_source: CheckSource, execute: str, finding: tuple[str, int]
) -> None:
    found = [each for each in check_source(execute, more=BATCHED) if each[0] != "PYT003"]
    assert found == [finding]


def test_to_leave_the_loop_works_as_long_as_nothing_joins_requests(check_source: CheckSource) -> None:
    early = loop(f"{READ}\nif not x.size:\n    return [{FAILED}]\nresponses.append({ANSWER})")
    assert check_source(early) == [("PYR003", 10)]


@pytest.mark.parametrize(
    "condition",
    ["request is requests[-1]", "request is last", "left == 0", "index == 3", "len(responses) == count"],
)
def test_who_leaves_at_the_last_request_leaves_none_out(check_source: CheckSource, condition: str) -> None:
    begin = "responses = []\nleft, last, count = len(requests), requests[-1], len(requests)"
    body = f"{READ}\nleft -= 1\nresponses.append({ANSWER})\nif {condition}:\n    return responses"
    counted = loop(body, begin=begin).replace("for request in requests", "for index, request in enumerate(requests)")
    assert check_source(counted, more=BATCHED) == []


def test_requests_may_be_counted_off(check_source: CheckSource) -> None:
    body = f"request = requests[place]\n{READ}\nif x.size:\n    responses.append({ANSWER})"
    counted = loop(body).replace("for request in requests", "for place in range(len(requests))")
    assert check_source(counted, more=BATCHED) == [("PYR013", 10)]
    always = counted.replace("if x.size:", "if True:")
    assert check_source(always, more=BATCHED) == []
    last = always.replace("\nreturn", "\n    if place == self.last:\n        return responses\nreturn")
    assert check_source(last, more=BATCHED) == []


def test_a_caught_exception_is_named_as_the_reason(check: Callable[..., list[Finding]]) -> None:
    silent = loop(f"try:\n    {READ}\n    responses.append({ANSWER})\nexcept ValueError:\n    pass")
    source = SOURCE + textwrap.indent(silent, " " * 8)
    (finding,) = check({"m/config.pbtxt": PYTHON, "m/1/model.py": source})
    assert finding.what == "after this exception a request can be left without a response"


def test_streams_and_senders_leave_requests_out_as_they_like(check_source: CheckSource) -> None:
    body = f"{READ}\nif not x.size:\n    continue\nresponses.append({ANSWER})"
    sends = loop("sender = request.get_response_sender()\n" + body)
    assert check_source(sends, more=BATCHED) == []
    assert "PYR013" not in {
        code for code, _ in check_source(loop(body), more="model_transaction_policy { decoupled: true }")
    }
