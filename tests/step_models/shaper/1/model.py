"""Tells the shapes that it gets."""

import json

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(auto_complete_model_config):
        auto_complete_model_config.add_output({"name": "more", "data_type": "TYPE_FP16", "dims": [-1]})
        TritonPythonModel.seen_before = True
        return auto_complete_model_config

    def execute(self, requests):
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
        flag = pb_utils.get_input_tensor_by_name(request, "flag").as_numpy()
        said = json.dumps([list(x.shape), list(flag.shape), flag.tolist(), hasattr(TritonPythonModel, "seen_before")])
        return pb_utils.InferenceResponse(
            [
                pb_utils.Tensor("y", x),
                pb_utils.Tensor("seen", np.array([said], dtype=np.object_)),
                pb_utils.Tensor("more", np.array([1.5], np.float16)),
            ]
        )
