"""Malformed requests: each is refused with a 4xx or answered rightly, none hangs, and the server answers on.

Every request goes over HTTP and over gRPC, with tensors in binary form on both; what only one of them has comes after.
Left out is what Triton 2.51 itself does before a model sees the request, and what only something in front of it can
cure: it answers 500 to JSON that cannot be parsed or whose fields have the wrong JSON type, and it counts rows in 32
bits, so that 2^32 + 1 of them are one.
"""

from __future__ import annotations

import functools
import http.client
import io
import json
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import deserialize_bytes_tensor

from conch_tools.server import EmbeddedServer
from conch_tools.settings import Settings

Answer = dict[str, npt.NDArray[Any]]
ANSWER_LIMIT_S = 20.0
CHANNEL_OPTIONS = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
STATUS = {grpc.StatusCode.INVALID_ARGUMENT: 400, grpc.StatusCode.NOT_FOUND: 404}

SEVEN = (Settings().repository / "digits" / "samples" / "seven.png").read_bytes()
GOOD_TEXT = b"Broke on the second day and nobody answers my emails."


def packed(*items: bytes) -> bytes:
    """BYTES elements as they travel: each behind its length."""
    return b"".join(struct.pack("<I", len(item)) + item for item in items)


class Tensor(NamedTuple):
    """An input as it is claimed to be, and what is sent for it."""

    name: str
    datatype: str
    shape: Sequence[int]
    data: bytes


@dataclass(frozen=True)
class Request:
    """A request in terms of the KServe protocol, whatever carries it."""

    model: str
    inputs: Sequence[Tensor]
    parameters: Mapping[str, Any]
    outputs: Sequence[str] = ()
    version: str = ""


def one(model: str, name: str, data: bytes, shape: Sequence[int] = (1, 1), datatype: str = "BYTES") -> Request:
    return Request(model, [Tensor(name, datatype, shape, data)], {})


def good(model: str) -> Request:
    if model == "digits":
        return one(model, "image", packed(SEVEN))
    return one(model, "text", packed(GOOD_TEXT))


class Refused(NamedTuple):
    """The request must get this status."""

    status: int = 400


class SameAs(NamedTuple):
    """The request must get the answer that this well-formed one gets."""

    request: Request


Verdict = Refused | SameAs
Cases = dict[str, tuple[Request, Verdict]]
MAX_TEXT_BYTES = 1 << 20


def text_cases(model: str) -> Cases:
    """Texts that are none, too long, or merely odd."""

    def text(content: bytes) -> Request:
        return one(model, "text", packed(content))

    not_utf8 = {
        "a lone continuation byte": b"\x80",
        "a byte that UTF-8 never has": b"fine until here \xff",
        "a character cut after one byte": "caf\u00e9".encode()[:-1],
        "a character cut after three bytes": "\U0001f600".encode()[:3],
        "an overlong NUL": b"\xc0\x80",
        "a surrogate": b"\xed\xa0\x80",
        "a code point past the last": b"\xf4\x90\x80\x80",
        "Latin-1": "caf\u00e9".encode("latin-1"),
        "UTF-16": "text".encode("utf-16"),
        "gzip": zlib.compress(b"text"),
    }
    words = b"word " * 10_000
    return {
        **{f"text is {what}": (text(content), Refused()) for what, content in not_utf8.items()},
        "text is over the limit": (text(b"a" * (MAX_TEXT_BYTES + 1)), Refused()),
        "texts are over the limit together": (
            one(model, "text", packed(*[b"a " * (MAX_TEXT_BYTES // 2)] * 5), [5, 1]),
            Refused(),
        ),
        "text is empty": (text(b""), SameAs(text(b" "))),
        "text is blank": (text(b" \n\t "), SameAs(text(b" "))),
        "text has NUL bytes": (text(b"a\0b \0"), SameAs(text(b"ab"))),
        "text is NUL bytes": (text(b"\0" * 1000), SameAs(text(b" "))),
        "text has control characters": (text(b"a\x07b\x1b"), SameAs(text(b"ab"))),
        "text has 10,000 words": (text(words), SameAs(text(words[: 5 * 300]))),
        "text is one long word": (text(b"a" * 100_000), SameAs(text(b"a" * 1_000))),
        "text is emoji": (text("\U0001f600".encode() * 1_000), SameAs(text("\U0001f600".encode() * 1_000))),
        "text runs from right to left": (text("\u202e\u0634".encode()), SameAs(text("\u0634".encode()))),
    }


def image_cases(model: str) -> Cases:
    """Files that are no image, not one of ours, damaged, or bombs."""

    def image(content: bytes) -> Request:
        return one(model, "image", packed(content))

    def drawn(size: tuple[int, int], file_format: str, mode: str = "L") -> bytes:
        file = io.BytesIO()
        Image.new(mode, size).save(file, format=file_format)
        return file.getvalue()

    damaged = bytearray(SEVEN)
    damaged[len(SEVEN) // 2] ^= 0xFF
    refused = {
        "empty": b"",
        "text": b"hello",
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>',
        "a GIF": drawn((20, 20), "GIF"),
        "a BMP": drawn((20, 20), "BMP"),
        "a TIFF": drawn((20, 20), "TIFF"),
        "a PDF": b"%PDF-1.4\n",
        "NUL bytes": b"\0" * 1_000,
        "cut in the middle": SEVEN[: len(SEVEN) // 2],
        "cut in the header": SEVEN[:20],
        "a JPEG cut short": drawn((200, 200), "JPEG")[:-60],
        "a WebP cut short": drawn((200, 200), "WEBP")[:-10],
        "damaged": bytes(damaged),
        "a PNG without pixels": png(16, 16, b""),
        "a PNG of garbage": png(16, 16, b"garbage"),
        "a PNG of no size": png(0, 0, b""),
        "a PNG that claims 2^31 rows": png(2**31 - 1, 2**31 - 1, b""),
        "a PNG with a text bomb": SEVEN[:33] + chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(50_000_000))) + SEVEN[33:],
        "a bomb of 64 million pixels": drawn((8_000, 8_000), "PNG", "1"),
        "a bomb of 400 million pixels": drawn((20_000, 20_000), "PNG", "1"),
    }
    return {
        **{f"image is {what}": (image(content), Refused()) for what, content in refused.items()},
        "images are a bomb together": (
            one(model, "image", packed(*[drawn((7_000, 7_000), "PNG", "1")] * 5), [5, 1]),
            Refused(),
        ),
        "image is one pixel": (image(drawn((1, 1), "PNG")), SameAs(image(drawn((30, 30), "PNG")))),
        "image is one row": (image(drawn((50_000, 1), "PNG")), SameAs(image(drawn((30, 30), "PNG")))),
        "image has bytes behind it": (image(SEVEN + b"more"), SameAs(good(model))),
    }


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, pixels: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def protocol_cases(model: str) -> Cases:
    """Requests that do not fit the model, or do not hold what they claim to hold."""
    right = good(model)
    (tensor,) = right.inputs
    item = tensor.data

    def tensors(*inputs: Tensor) -> tuple[Request, Verdict]:
        return replace(right, inputs=inputs), Refused()

    shapes: dict[str, tuple[Sequence[int], int]] = {
        "no rows": ([0, 1], 0),
        "no batch dimension": ([1], 1),
        "no dimension": ([], 1),
        "a dimension too many": ([1, 1, 1], 1),
        "two columns": ([1, 2], 2),
        "no columns": ([1, 0], 0),
        "more rows than data": ([2, 1], 1),
        "less rows than data": ([1, 1], 2),
        "2^31 rows": ([2**31, 1], 1),
        "an overflowing size": ([2**62, 4], 1),
        "one row over the maximum": ([65, 1], 65),
    }
    framings = {
        "nothing": b"",
        "half a length": item[:2],
        "a length over the data": struct.pack("<I", len(item)) + item[4:],
        "the greatest length": struct.pack("<I", 2**32 - 1) + item[4:],
        "a length under the data": struct.pack("<I", len(item) - 7) + item[4:],
        "a byte behind": item + b"x",
    }
    datatypes = ("FP32", "INT64", "BOOL", "UINT8", "BF16", "STRING", "bytes", "")
    return {
        **{
            f"shape has {what}": tensors(tensor._replace(shape=shape, data=item * count))
            for what, (shape, count) in shapes.items()
        },
        **{f"data is {what}": tensors(tensor._replace(data=data)) for what, data in framings.items()},
        **{f"datatype is {name or 'empty'}": tensors(tensor._replace(datatype=name)) for name in datatypes},
        "the tensor is missing": tensors(),
        "the tensor is misspelt": tensors(tensor._replace(name=tensor.name.upper())),
        "the tensor has no name": tensors(tensor._replace(name="")),
        "the tensor comes twice": tensors(tensor, tensor),
        "a tensor is too many": tensors(tensor, tensor._replace(name="more")),
        "an output is unknown": (replace(right, outputs=["nothing"]), Refused()),
        "an output is unknown among others": (replace(right, outputs=[outputs_of(model)[0], "nothing"]), Refused()),
        "the model is unknown": (replace(right, model=f"{model}s"), Refused(404)),
        "the version is unknown": (replace(right, version="9"), Refused(404)),
        "a parameter is unknown": (replace(right, parameters={"colour": "blue"}), SameAs(right)),
    }


def outputs_of(model: str) -> list[str]:
    return ["embedding"] if model == "embed" else ["label", "score"]


def top_k_cases(model: str) -> Cases:
    """The one parameter that classifiers take."""
    right = good(model)
    wrong = {"zero": 0, "negative": -1, "a word": "many", "empty": "", "a fraction": 2.5, "a truth": True}
    return {
        **{
            f"top_k is {what}": (replace(right, parameters={"top_k": value}), Refused())
            for what, value in wrong.items()
        },
        "top_k is over the classes": (replace(right, parameters={"top_k": 10**18}), SameAs(right)),
        "top_k is a number in quotes": (
            replace(right, parameters={"top_k": "1"}),
            SameAs(replace(right, parameters={"top_k": 1})),
        ),
    }


CASES: Cases = {
    f"{model}: {what}": case
    for model, makers in {
        "embed": (text_cases, protocol_cases),
        "sentiment": (text_cases, protocol_cases, top_k_cases),
        "digits": (image_cases, protocol_cases, top_k_cases),
    }.items()
    for make in makers
    for what, case in make(model).items()
}


class Refusal(Exception):
    """The server answered with a status other than success."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status = status


def over_http(server: EmbeddedServer, request: Request) -> Answer:
    """The answer to a request over HTTP with binary tensors. Raises Refusal."""
    header = {
        "inputs": [
            {
                "name": tensor.name,
                "datatype": tensor.datatype,
                "shape": list(tensor.shape),
                "parameters": {"binary_data_size": len(tensor.data)},
            }
            for tensor in request.inputs
        ],
        "outputs": [{"name": name} for name in request.outputs or outputs_of(request.model)],
        "parameters": dict(request.parameters),
    }
    version = f"/versions/{request.version}" if request.version else ""
    body = json.dumps(header).encode()
    answer = json.loads(
        post(
            server,
            f"/v2/models/{request.model}{version}/infer",
            body + b"".join(tensor.data for tensor in request.inputs),
            {"Inference-Header-Content-Length": str(len(body))},
        )
    )
    return {each["name"]: np.array(each["data"]).reshape(each["shape"]) for each in answer["outputs"]}


def post(server: EmbeddedServer, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    connection = http.client.HTTPConnection(server.http_url, timeout=ANSWER_LIMIT_S)
    try:
        connection.request("POST", path, body, dict(headers or {}))
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise Refusal(answer.status, json.loads(content)["error"])
    return content


def over_grpc(server: EmbeddedServer, request: Request) -> Answer:
    """The answer to a request over gRPC. Raises Refusal with the status that HTTP would have."""
    message = service_pb2.ModelInferRequest(model_name=request.model, model_version=request.version)
    for tensor in request.inputs:
        message.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        message.raw_input_contents.append(tensor.data)
    for name in request.outputs or outputs_of(request.model):
        message.outputs.add(name=name)
    kinds = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}
    for key, value in request.parameters.items():
        setattr(message.parameters[key], kinds[type(value)], value)
    return send(server, message)


def send(server: EmbeddedServer, message: Any) -> Answer:
    with grpc.insecure_channel(server.grpc_url, options=CHANNEL_OPTIONS) as channel:
        try:
            answer = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(message, timeout=ANSWER_LIMIT_S)
        except grpc.RpcError as problem:
            raise Refusal(STATUS.get(problem.code(), 500), f"{problem.code()}: {problem.details()}") from problem
    return {
        tensor.name: decoded(tensor, raw)
        for tensor, raw in zip(answer.outputs, answer.raw_output_contents, strict=True)
    }


def decoded(tensor: Any, raw: bytes) -> npt.NDArray[Any]:
    if tensor.datatype == "BYTES":
        flat = np.array([element.decode() for element in deserialize_bytes_tensor(raw)])
    else:
        flat = np.frombuffer(raw, dtype=np.float32)
    return flat.reshape(list(tensor.shape))


TRANSPORTS = {"http": over_http, "grpc": over_grpc}


def assert_same(answer: Answer, expected: Answer) -> None:
    assert answer.keys() == expected.keys()
    for name, values in expected.items():
        if np.issubdtype(values.dtype, np.number):
            np.testing.assert_allclose(answer[name], values, atol=1e-5)
        else:
            assert answer[name].tolist() == values.tolist()


@functools.cache
def expected_of(server: EmbeddedServer, model: str) -> Answer:
    """The answer to the model's good request before anything bad was sent."""
    return over_grpc(server, good(model))


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, triton: EmbeddedServer) -> Iterator[tuple[Request, Verdict]]:
    """A malformed request; afterwards its model answers a good one as before."""
    model = request.param.partition(":")[0]
    before = expected_of(triton, model)
    yield CASES[request.param]
    assert_same(over_grpc(triton, good(model)), before)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_malformed_request_is_refused_or_answered_rightly(
    triton: EmbeddedServer, case: tuple[Request, Verdict], transport: str
) -> None:
    request, verdict = case
    if isinstance(verdict, SameAs):
        assert_same(TRANSPORTS[transport](triton, request), over_grpc(triton, verdict.request))
        return
    with pytest.raises(Refusal) as refused:
        TRANSPORTS[transport](triton, request)
    assert refused.value.status == verdict.status, refused.value
    assert "Traceback" not in str(refused.value)


def test_the_table_is_as_large_as_promised() -> None:
    assert len(CASES) * len(TRANSPORTS) >= 200


JSON_TENSOR = '{"name": "text", "shape": [1, 1], "datatype": "BYTES", "data": ["text"]}'
SHARED_MEMORY = '{"shared_memory_region": "x", "shared_memory_byte_size": 9}'
JSON_BODIES: dict[str, tuple[str, str, int]] = {
    "no data": ("infer", JSON_TENSOR.replace(', "data": ["text"]', ""), 400),
    "no elements": ("infer", JSON_TENSOR.replace('"text"]', "]"), 400),
    "an element too many": ("infer", JSON_TENSOR.replace('["text"]', '["a", "b"]'), 400),
    "numbers as text": ("infer", JSON_TENSOR.replace("BYTES", "FP32").replace('["text"]', "[1.5]"), 400),
    "data and a binary size": ("infer", JSON_TENSOR.replace("}", ', "parameters": {"binary_data_size": 8}}'), 400),
    "a binary size without data": (
        "infer",
        JSON_TENSOR.replace('"data": ["text"]', '"parameters": {"binary_data_size": 8}'),
        400,
    ),
    "a shared memory region": (
        "infer",
        JSON_TENSOR.replace('"data": ["text"]', f'"parameters": {SHARED_MEMORY}'),
        404,
    ),
    "no fields": ("generate", "{}", 400),
    "a misspelt field": ("generate", '{"texts": "a"}', 400),
    "no texts": ("generate", '{"text": []}', 400),
    "a field twice": ("generate", '{"text": "a", "text": "b"}', 400),
    "a list as a parameter": ("generate", '{"text": "a", "top_k": [1]}', 400),
}


@pytest.mark.parametrize("what", JSON_BODIES)
def test_malformed_json_requests_are_refused(triton: EmbeddedServer, what: str) -> None:
    endpoint, content, status = JSON_BODIES[what]
    body = f'{{"inputs": [{content}]}}' if endpoint == "infer" else content
    with pytest.raises(Refusal) as refused:
        post(triton, f"/v2/models/embed/{endpoint}", body.encode())
    assert refused.value.status == status


@pytest.mark.parametrize("body", [f'{{"inputs": [{JSON_TENSOR}]}}', '{"text": ["text"]}'])
def test_text_in_json_that_is_not_utf8_is_refused(triton: EmbeddedServer, body: str) -> None:
    endpoint = "infer" if "inputs" in body else "generate"
    with pytest.raises(Refusal, match="not UTF-8"):
        post(triton, f"/v2/models/embed/{endpoint}", body.encode().replace(b'["text"]', b'["\xff"]'))


@pytest.mark.parametrize("length", ["-1", "9999"])
def test_a_header_length_that_lies_is_refused(triton: EmbeddedServer, length: str) -> None:
    with pytest.raises(Refusal) as refused:
        headers = {"Inference-Header-Content-Length": length}
        post(triton, "/v2/models/embed/infer", f'{{"inputs": [{JSON_TENSOR}]}}'.encode(), headers)
    assert refused.value.status == 400


def test_grpc_contents_of_another_type_or_in_two_forms_are_refused(triton: EmbeddedServer) -> None:
    for contents, raw in (({"int_contents": [1]}, []), ({"bytes_contents": [b"a"]}, [packed(b"b")]), ({}, [])):
        message = service_pb2.ModelInferRequest(model_name="embed", raw_input_contents=raw)
        tensor = message.inputs.add(name="text", datatype="BYTES", shape=[1, 1])
        for kind, values in contents.items():
            getattr(tensor.contents, kind).extend(values)
        with pytest.raises(Refusal) as refused:
            send(triton, message)
        assert refused.value.status == 400
