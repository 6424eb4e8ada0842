import json

import numpy as np
import triton_python_backend_utils as pb_utils
from transformers import AutoTokenizer


class TritonPythonModel:
    def initialize(self, args):
        parameters = json.loads(args["model_config"])["parameters"]
        name = parameters["tokenizer"]["string_value"]
        self.tokenizer = AutoTokenizer.from_pretrained(name)

    def execute(self, requests):
        responses = []
        for request in requests:
            texts = pb_utils.get_input_tensor_by_name(request, "text").as_numpy()
            ids = self.tokenizer([text.decode() for (text,) in texts], padding=True, return_tensors="np")
            tensor = pb_utils.Tensor("ids", ids["input_ids"].astype(np.int32))
            responses.append(pb_utils.InferenceResponse(output_tensors=[tensor]))
        return responses
