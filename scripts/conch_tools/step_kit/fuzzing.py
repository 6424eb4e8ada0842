"""Requests made up by hypothesis from a step's config.pbtxt, and what every mix of them must keep.

A step answers many callers in one execution. Whatever stands beside a request in it, the request must get the answer
that it gets alone: this finds padding that leaks, rows that change places, one bad request that takes the others
along.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import hypothesis
import numpy as np
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from conch_tools.data_types import STRING
from conch_tools.errors import ContractBroken
from conch_tools.step_kit.step import Step
from conch_tools.step_kit.talk import Reply, Request, Response
from conch_tools.step_kit.tensors import NUMPY_TYPES, Array

Config = dict[str, Any]
Parameters = dict[str, bool | int | float | str]
Read = Callable[[Request, dict[str, Array]], dict[str, Array]]

ODD_TEXTS = (
    b"",
    b" ",
    b"\n",
    b"\x00",
    b"\xff\xfe",
    b"caf\xe9",
    b"{}",
    b"[]",
    b"null",
    b"-1",
    b"NaN",
    b"a" * 300,
    b"word " * 60,
    "Ünïcödé ß İ".encode(),
    "\u200b\u202e\ufeff".encode(),
    "👩‍👩‍👧‍👦🇳🇴".encode(),
    "مرحبا 你好 שלום".encode(),
)
"""Texts that steps stumble over: empty, no UTF-8, JSON by accident, long, invisible, from right to left."""
FEW = 3
EXAMPLES = 50
TOLERANCE = 1e-5

texts = st.one_of(st.sampled_from(ODD_TEXTS), st.text(max_size=20).map(str.encode), st.binary(max_size=12))


def requests_of(
    config: Config,
    elements: Mapping[str, st.SearchStrategy[Any]] | None = None,
    parameters: st.SearchStrategy[Parameters] | None = None,
    rows_at_most: int = FEW,
) -> st.SearchStrategy[Request]:
    """Requests that core admits, of any content: every number of the type, odd texts, up to `rows_at_most` rows and
    that length of dimensions that vary, optional inputs left out at times.

    `elements` says what single values of an input are, by its name; `parameters` are the requests' own.
    """
    required = {tensor["name"] for tensor in config["input"] if not tensor["optional"]}

    @st.composite
    def requests(draw: st.DrawFn) -> Request:
        rows = draw(st.integers(1, min(rows_at_most, config["max_batch_size"]))) if config["max_batch_size"] else None
        inputs = {}
        for tensor in config["input"]:
            name = tensor["name"]
            if name in required or draw(st.booleans()):
                inputs[name] = draw(_arrays(tensor, rows, (elements or {}).get(name)))
        return Request(inputs, parameters=draw(parameters) if parameters is not None else {})

    return requests()


def _arrays(tensor: Config, rows: int | None, elements: st.SearchStrategy[Any] | None) -> st.SearchStrategy[Any]:
    numpy_type = np.dtype(NUMPY_TYPES[tensor["data_type"]])
    if elements is None:
        elements = texts if tensor["data_type"] == STRING else arrays_of.from_dtype(numpy_type)
    sizes = [st.integers(0, FEW) if size == -1 else st.just(size) for size in tensor["dims"]]
    shapes = st.tuples(*sizes) if rows is None else st.tuples(st.just(rows), *sizes)
    return shapes.flatmap(lambda shape: arrays_of.arrays(numpy_type, shape, elements=elements))


def fuzz_step(
    step: Step,
    requests: st.SearchStrategy[Request] | None = None,
    *,
    at_most: int = 4,
    may_fail_with: Collection[str] = ("INVALID_ARG",),
    stateless: bool = True,
    tolerance: float = TOLERANCE,
    read: Read | None = None,
    examples: int = EXAMPLES,
) -> None:
    """Ask the step mixes of up to `at_most` requests (by default `requests_of` its configuration).

    Raises ContractBroken with the smallest mix that it could find, as code, when

    - Triton's contract is broken, as `Step.execute` has it;
    - an exception leaves `execute`, or a request is answered with an error code that is none of `may_fail_with`;
    - a request in a mix is not answered as it is alone, numbers within `tolerance`. Of a step that is not `stateless`
      the answers are not compared; all the rest holds for it, alone and in mixes.

    `read` gives what a caller reads of a request's outputs, where some of them are padding that depends on the company.
    The same mixes in every run.
    """
    mixes = st.lists(requests_of(step.config) if requests is None else requests, min_size=1, max_size=at_most)

    @hypothesis.settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(mixes)
    def any_mix(mix: list[Request]) -> None:
        require_sound(step, mix, may_fail_with, stateless, tolerance, read)

    any_mix()


def require_sound(
    step: Step,
    mix: Sequence[Request],
    may_fail_with: Collection[str] = ("INVALID_ARG",),
    stateless: bool = True,
    tolerance: float = TOLERANCE,
    read: Read | None = None,
) -> None:
    """One mix, judged as by `fuzz_step`."""
    alone = [_ask(step, [request], may_fail_with)[0] for request in mix]
    if len(mix) == 1:
        return
    together = _ask(step, mix, may_fail_with)
    if not stateless:
        return
    for number, (request, *replies) in enumerate(zip(mix, together, alone, strict=True)):
        reply, by_itself = (_as_read(each, request, read) for each in replies)
        if not _same_replies(reply, by_itself, tolerance):
            raise _broken(
                f"request {number} is answered otherwise in this company than alone:\n"
                f"  alone    {_shown(by_itself)}\n  together {_shown(reply)}",
                mix,
            )


def _as_read(reply: Reply, request: Request, read: Read | None) -> Reply:
    if read is None:
        return reply
    return Reply(
        tuple(
            each if each.error is not None else Response(read(request, dict(each.outputs))) for each in reply.responses
        )
    )


def _ask(step: Step, requests: Sequence[Request], may_fail_with: Collection[str]) -> list[Reply]:
    """One execution of them all. Raises ContractBroken where it breaks the contract or fails as it may not."""
    try:
        replies = step.execute(requests)
    except ContractBroken as problem:
        raise _broken(str(problem), requests) from None
    for error in [reply.error for reply in replies if reply.error is not None and not reply.refused]:
        if error.whole_execution:
            raise _broken(f"an exception leaves `execute`: {error.message}", requests)
        if error.code not in may_fail_with:
            raise _broken(
                f"a request is answered with {error}, but may fail with {', '.join(may_fail_with)} only", requests
            )
    return replies


def _broken(what: str, requests: Sequence[Request]) -> ContractBroken:
    listed = "".join(f"    {request!r},\n" for request in requests)
    return ContractBroken(f"{what}\n\nWhat was asked, to paste into a test:\n\nstep.execute([\n{listed}])")


def _shown(reply: Reply) -> str:
    return "; ".join(
        str(response.error or {name: value.tolist() for name, value in response.outputs.items()})
        for response in reply.responses
    )[:1000]


def _same_replies(one: Reply, other: Reply, tolerance: float) -> bool:
    return len(one.responses) == len(other.responses) and all(
        _same_responses(*pair, tolerance) for pair in zip(one.responses, other.responses, strict=True)
    )


def _same_responses(one: Response, other: Response, tolerance: float) -> bool:
    if one.error is not None or other.error is not None:
        return str(one.error) == str(other.error)
    return one.outputs.keys() == other.outputs.keys() and all(
        one.outputs[name].dtype == other.outputs[name].dtype
        and one.outputs[name].shape == other.outputs[name].shape
        and _same_values(one.outputs[name].ravel().tolist(), other.outputs[name].ravel().tolist(), tolerance)
        for name in one.outputs
    )


def _same_values(one: Any, other: Any, tolerance: float) -> bool:
    """Numbers within the tolerance, also those in JSON; everything else to the letter."""
    if isinstance(one, float) and isinstance(other, float):
        close = math.isclose(one, other, rel_tol=tolerance, abs_tol=tolerance)
        return close or (math.isnan(one) and math.isnan(other))
    if isinstance(one, bytes) and isinstance(other, bytes) and one != other:
        try:
            one, other = json.loads(one), json.loads(other)
        except ValueError:
            return False
        return not isinstance(one, bytes) and _same_values(one, other, tolerance)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same_values, one, other, [tolerance] * len(one)))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same_values(one[key], other[key], tolerance) for key in one)
    return bool(one == other)
