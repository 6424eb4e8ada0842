"""How alike two texts are: the cosine of what `embed` makes of each of them."""

import json
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """`text` and `other` BYTES [n, 1] in, `likeness` FP32 [n, 1] out."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the type of the output."""
        config = json.loads(args["model_config"])
        output = pb_utils.get_output_config_by_name(config, "likeness")
        self._type = pb_utils.triton_string_to_numpy(output["data_type"])

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response for each request; all of their texts go to `embed` together."""
        texts = []
        others = []
        for request in requests:
            texts.append(pb_utils.get_input_tensor_by_name(request, "text").as_numpy())
            others.append(pb_utils.get_input_tensor_by_name(request, "other").as_numpy())
        likeness = self._likeness(np.concatenate(texts), np.concatenate(others))
        ends = np.cumsum([len(text) for text in texts])
        responses = []
        for rows in np.split(likeness, ends[:-1]):
            tensor = pb_utils.Tensor("likeness", rows.astype(self._type))
            responses.append(pb_utils.InferenceResponse([tensor]))
        return responses

    def _likeness(self, texts: Any, others: Any) -> Any:
        ask = pb_utils.InferenceRequest(
            model_name="embed", inputs=[pb_utils.Tensor("text", texts)], requested_output_names=["embedding"]
        )
        first = ask.exec()
        if first.has_error():
            raise pb_utils.TritonModelException(first.error().message())
        ask_again = pb_utils.InferenceRequest(
            model_name="embed", inputs=[pb_utils.Tensor("text", others)], requested_output_names=["embedding"]
        )
        second = ask_again.exec()
        if second.has_error():
            raise pb_utils.TritonModelException(second.error().message())
        one = pb_utils.get_output_tensor_by_name(first, "embedding").as_numpy()
        two = pb_utils.get_output_tensor_by_name(second, "embedding").as_numpy()
        return np.sum(one * two, axis=1, keepdims=True)
