import numpy as np
import triton_python_backend_utils as pb_utils


class Echo:
    """Stands in for a language model: takes prompts, gives one text for each."""

    def __call__(self, prompts):
        return [{"text": prompt + " ..."} for prompt in prompts]


class TritonPythonModel:
    def initialize(self, args):
        self.language_model = Echo()

    def execute(self, requests):
        prompts = []
        for request in requests:
            tensor = pb_utils.get_input_tensor_by_name(request, "prompt").as_numpy()
            for row in range(tensor.shape[0]):
                prompts.append(tensor[row][0].decode())
        return self.complete(prompts)

    def complete(self, prompts):
        answers = []
        responses = []
        for generated in self.language_model(prompts):
            answers.append(generated["text"])
            tensor = pb_utils.Tensor("completion", np.array(answers, dtype=object))
            responses.append(pb_utils.InferenceResponse(output_tensors=[tensor]))
        return responses
