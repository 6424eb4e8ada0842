import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            wish = pb_utils.get_input_tensor_by_name(request, "wish")
            encode = pb_utils.InferenceRequest(
                model_name="text_encoder",
                requested_output_names=["state"],
                inputs=[pb_utils.Tensor("text", wish.as_numpy())],
            )
            encoded = encode.exec()
            if encoded.has_error():
                raise pb_utils.TritonModelException(encoded.error().message())
            state = pb_utils.get_output_tensor_by_name(encoded, "state")

            decode = pb_utils.InferenceRequest(
                model_name="image_decoder", requested_output_names=["image"], inputs=[state]
            )
            decoded = decode.exec()
            if encoded.has_error():
                raise pb_utils.TritonModelException(decoded.error().message())
            image = pb_utils.get_output_tensor_by_name(decoded, "image")
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("picture", image.as_numpy())]))
        return responses
