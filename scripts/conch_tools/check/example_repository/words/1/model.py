"""The words of a text, one response each."""

from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """`text` BYTES [1, 1] in, `word` BYTES [1, 1] in each response."""

    def execute(self, requests: list[Any]) -> None:
        """Answer each request through its sender, and say that there is no more to come."""
        for request in requests:
            sender = request.get_response_sender()
            text = pb_utils.get_input_tensor_by_name(request, "text").as_numpy()
            for word in text.item(0).split():
                sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("word", np.array([[word]], dtype=np.object_))]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
