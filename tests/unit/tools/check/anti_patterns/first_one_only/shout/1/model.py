import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        texts = pb_utils.get_input_tensor_by_name(requests[0], "QUIET").as_numpy()
        loud = np.array([text.upper() for text in texts], dtype=np.object_)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("LOUD", loud)])]
