import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            photo = pb_utils.get_input_tensor_by_name(request, "photo")
            pixels = np.squeeze(photo.as_numpy()).transpose((2, 0, 1))
            small = pixels[np.newaxis, :, ::4, ::4].astype(np.float32)
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("thumbnail", small)]))
        return responses
