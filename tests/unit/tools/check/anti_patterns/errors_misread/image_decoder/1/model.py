import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.decode(request) for request in requests]

    def decode(self, request):
        state = pb_utils.get_input_tensor_by_name(request, "state").as_numpy()
        return pb_utils.InferenceResponse([pb_utils.Tensor("image", state.reshape(-1, 2, 2))])
