import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            beginnings = [
                text.decode("utf-8")
                for text in pb_utils.get_input_tensor_by_name(request, "BEGINNING").as_numpy().tolist()
            ]
            story = f"{beginnings[0]}, and they lived happily ever after."
            tensor = pb_utils.Tensor("STORY", np.array([story], dtype=np.object_))
            responses.append(pb_utils.InferenceResponse([tensor]))
        return responses
