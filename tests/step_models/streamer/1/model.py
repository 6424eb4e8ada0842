"""A decoupled step, right and wrong."""

import json
import threading

import numpy as np
import triton_python_backend_utils as pb_utils

FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class TritonPythonModel:
    async def execute(self, requests):
        for request in requests:
            what = json.loads(request.parameters()).get("do")
            DEEDS[what](request.get_response_sender())


def number(value):
    return pb_utils.InferenceResponse([pb_utils.Tensor("y", np.array([value], np.int32))])


def counting(sender):
    for value in range(3):
        sender.send(number(value))
    sender.send(flags=FINAL)


def last_with_flag(sender):
    sender.send(number(1))
    sender.send(number(2), flags=FINAL)


def failing_after_one(sender):
    sender.send(number(1))
    sender.send(pb_utils.InferenceResponse([], pb_utils.TritonError("broke off", pb_utils.TritonError.UNAVAILABLE)))
    sender.send(flags=FINAL)


def after_the_last(sender):
    sender.send(flags=FINAL)
    try:
        sender.send(number(1))
    except pb_utils.TritonModelException as problem:
        pb_utils.Logger.log_error(str(problem))


def later(sender):
    threading.Timer(0.05, lambda: counting(sender)).start()


DEEDS = {
    "counting": counting,
    "last_with_flag": last_with_flag,
    "failing_after_one": failing_after_one,
    "after_the_last": after_the_last,
    "later": later,
    "nothing": lambda sender: sender.send(flags=FINAL),
}
