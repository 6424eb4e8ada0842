"""What a step can do, right and wrong, one thing for each value of the request's parameter `do`."""

import json
import threading

import helper
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self._args = args
        self._config = json.loads(args["model_config"])

    def execute(self, requests):
        done = [self._do(request) for request in requests]
        if "shorter" in [json.loads(request.parameters()).get("do") for request in requests]:
            return done[1:]
        return tuple(done) if "tuple" in done else done

    def _do(self, request):
        what = json.loads(request.parameters()).get("do", "echo")
        if what in DEEDS:
            return DEEDS[what](request)
        return getattr(self, f"_{what}")(request)

    def _args_seen(self, request):
        given = {key: value for key, value in self._args.items() if key not in ("model_config", "model_repository")}
        tensors = [{key: each[key] for key in sorted(each)} for each in self._config["input"] + self._config["output"]]
        rest = {key: self._config[key] for key in ("name", "max_batch_size", "backend", "parameters")}
        return answer(request, seen=json.dumps([given, tensors, rest], sort_keys=True))


def answer(request, y=None, seen="", more=()):
    x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
    rows = np.array([[seen]] * len(x), dtype=np.object_)
    return pb_utils.InferenceResponse(
        [pb_utils.Tensor("y", x if y is None else y), pb_utils.Tensor("seen", rows), *more]
    )


def failed(message, code=None):
    error = pb_utils.TritonError(message) if code is None else pb_utils.TritonError(message, code)
    return pb_utils.InferenceResponse([], error)


def raising(request):
    helper.deep("a cause with ünïcode")


class Outer:
    class Inner(Exception):
        """Has a name of its own."""


def raising_own(request):
    try:
        raise pb_utils.TritonModelException("a cause")
    except pb_utils.TritonModelException as problem:
        raise Outer.Inner("a consequence") from problem


def raising_tritons(request):
    raise pb_utils.TritonModelException("raised by the step")


def request_seen(request):
    x = pb_utils.get_input_tensor_by_name(request, "x")
    text = pb_utils.get_input_tensor_by_name(request, "text")
    seen = {
        # In a hash map's order there.
        "parameters": [len(request.parameters()), sorted(json.loads(request.parameters()).items())],
        "ids": [request.request_id(), request.correlation_id(), request.flags(), request.timeout()],
        "wanted": [type(request.requested_output_names()).__name__, sorted(request.requested_output_names())],
        "cancelled": request.is_cancelled(),
        "x": [x.name(), type(x.shape()).__name__, list(x.shape()), x.is_cpu(), x.as_numpy().flags.writeable],
        "text": None if text is None else [text.shape(), [repr(row) for row in text.as_numpy().ravel()]],
        "trace": request.trace().get_context(),
        "missing": pb_utils.get_input_tensor_by_name(request, "z") is None,
        "dir": pb_utils.get_model_dir().rpartition("/")[2],
        "absent": [name for name in ("model_name", "priority") if not hasattr(request, name)],
    }
    return answer(request, seen=json.dumps(seen, sort_keys=True))


def refused(*deeds):
    """What each of them raises, by name and message."""
    said = []
    for deed in deeds:
        try:
            deed()
            said.append("nothing")
        except Exception as problem:
            first, *_ = str(problem).split("\n")
            said.append(f"{type(problem).__name__}: {first}")
    return json.dumps(said)


def tensor_rules(request):
    x = np.ones((1, 2), np.float32)
    return answer(
        request,
        seen=refused(
            lambda: pb_utils.Tensor("", x),
            lambda: pb_utils.Tensor("y", x.astype("datetime64[s]")),
            lambda: pb_utils.Tensor("y", np.array([["a"]])),
            lambda: pb_utils.Tensor("y", x.astype(np.complex64)),
            lambda: pb_utils.Tensor("y", [1.0]),
            lambda: pb_utils.Tensor("y", np.array([["\ud800"]], dtype=np.object_)),
            lambda: pb_utils.Tensor("y", np.array([[b"a"]])),
            lambda: pb_utils.Tensor("y", np.array([[b"a"]], dtype=np.object_)).to_dlpack(),
            lambda: pb_utils.Tensor.from_dlpack("y", 3),
            lambda: pb_utils.Tensor.from_dlpack("", x),
            lambda: pb_utils.Tensor("y", x).triton_dtype(),
            lambda: pb_utils.InferenceResponse([None]),
            lambda: pb_utils.InferenceResponse([1]),
            lambda: pb_utils.TritonError(3),
        ),
    )


def sender_rules(request):
    sender = request.get_response_sender()
    said = refused(
        lambda: sender.send(answer(request), flags=7),
        lambda: sender.send(),
        lambda: sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL),
    )
    own = pb_utils.InferenceRequest(model_name="m", requested_output_names=[], inputs=[])
    said += refused(
        lambda: own.get_response_sender().send(answer(request), flags=1),
        lambda: pb_utils.InferenceRequest(model_name="m", requested_output_names=[""], inputs=[]),
        lambda: pb_utils.InferenceRequest(model_name="m", requested_output_names=[], inputs=[None]),
        lambda: pb_utils.InferenceRequest(model_name="m", requested_output_names=[], inputs=[], parameters={"a": 1.5}),
        lambda: pb_utils.InferenceRequest(model_name="m", requested_output_names=[], inputs=[], parameters={1: 1}),
        lambda: pb_utils.InferenceRequest(model_name="m", requested_output_names=[], inputs=[], correlation_id=1.5),
    )
    sender.send(answer(request, seen=said), flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


def sent_later(request):
    sender = request.get_response_sender()
    threading.Timer(
        0.05, lambda: sender.send(answer(request), flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
    ).start()


def sent_and_returned(request):
    sent = answer(request, seen="sent")
    request.get_response_sender().send(sent, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
    return answer(request, seen="returned")


def changed_after(request):
    """Numbers are read when the response leaves, text when its tensor is made."""
    y, seen = np.zeros((1, 2), np.float32), np.array([[b"before"]], dtype=np.object_)
    response = pb_utils.InferenceResponse([pb_utils.Tensor("y", y), pb_utils.Tensor("seen", seen)])
    y[:], seen[:] = 1, b"after"
    return response


def metric_rules(request):
    counter = pb_utils.MetricFamily(name="tests_counted", description="d", kind=pb_utils.MetricFamily.COUNTER)
    gauge = pb_utils.MetricFamily(name="tests_gauged", description="d", kind=pb_utils.MetricFamily.GAUGE)
    histogram = pb_utils.MetricFamily(name="tests_seen", description="d", kind=pb_utils.MetricFamily.HISTOGRAM)
    count, level = counter.Metric(labels={"a": "b"}), gauge.Metric()
    spread = histogram.Metric(buckets=[1.0, 2.0])
    count.increment(2)
    level.set(5)
    level.increment(-1.5)
    spread.observe(1.5)
    said = refused(
        lambda: counter.Metric(labels=[1]),
        lambda: counter.Metric(buckets=[1.0]),
        lambda: histogram.Metric(),
        lambda: histogram.Metric(buckets=3),
    )
    return answer(request, seen=json.dumps([count.value(), level.value(), said]))


def helper_rules(request):
    names = ["TYPE_BOOL", "TYPE_UINT8", "TYPE_FP16", "TYPE_STRING"]
    seen = [
        [pb_utils.triton_string_to_numpy(name).__name__ for name in names],
        [getattr(pb_utils.triton_to_numpy_type(number), "__name__", None) for number in range(15)],
        [pb_utils.numpy_to_triton_type(kind) for kind in (np.bool_, np.float16, np.object_, np.bytes_, str)],
        pb_utils.serialize_byte_tensor(np.array([[b"a", "ü"]], dtype=np.object_)).hex(),
        [pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START, pb_utils.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE],
        [pb_utils.TritonError.CANCELLED, pb_utils.TritonError("m").code(), pb_utils.TritonError("m").message()],
        sorted(name for name in dir(pb_utils) if name.strip("_") == name and name not in ("json", "np", "struct")),
    ]
    return answer(request, seen=json.dumps(seen, default=int))


DEEDS = {
    "echo": answer,
    "request_seen": request_seen,
    "raising": raising,
    "raising_own": raising_own,
    "raising_tritons": raising_tritons,
    "tensor_rules": tensor_rules,
    "sender_rules": sender_rules,
    "metric_rules": metric_rules,
    "helper_rules": helper_rules,
    "sent_later": sent_later,
    "sent_and_returned": sent_and_returned,
    "changed_after": changed_after,
    "plain_error": lambda request: failed("no code given"),
    "other_type": lambda request: answer(request, y=np.ones((1, 2), np.float64)),
    "other_shape": lambda request: answer(request, y=np.ones((3, 1, 2), np.float32)),
    "turned": lambda request: answer(request, y=np.arange(4, dtype=np.float32).reshape(2, 2).T[:1]),
    "nothing_in_it": lambda request: answer(request, y=np.zeros((1, 0), np.float32)),
    "bytes_array": lambda request: answer(request, y=np.array([[b"ab", b"c"]])),
    "one_missing": lambda request: pb_utils.InferenceResponse([pb_utils.Tensor("y", np.ones((1, 2), np.float32))]),
    "one_more": lambda request: answer(request, more=[pb_utils.Tensor("z", np.ones(3))]),
    "error_and_tensors": lambda request: pb_utils.InferenceResponse(
        answer(request).output_tensors(), pb_utils.TritonError("both")
    ),
    "number": lambda request: 3,
    "tuple": lambda request: "tuple",
    "shorter": answer,
    **{
        code: (lambda request, code=code: failed(f"said {code}", getattr(pb_utils.TritonError, code)))
        for code in (
            "UNKNOWN",
            "INTERNAL",
            "NOT_FOUND",
            "INVALID_ARG",
            "UNAVAILABLE",
            "UNSUPPORTED",
            "ALREADY_EXISTS",
            "CANCELLED",
        )
    },
}
