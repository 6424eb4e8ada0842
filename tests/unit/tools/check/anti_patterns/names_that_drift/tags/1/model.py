import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            idx_to_class = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC"]
            classes = pb_utils.get_input_tensor_by_name(request, "classes").as_numpy()
            tags = np.array([[idx_to_class[number] for number in row] for row in classes], dtype=np.object_)
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("tags", tags)]))
        return responses
