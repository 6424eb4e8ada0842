"""The Python half of `triton_python_backend_utils`: helpers around a model's configuration, and `ModelConfig`.

Rewritten after python_backend's file of that name, so that steps can be tested where no server is installed; a test
compares both on the same calls, to the word.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from conch_tools.step_kit.tensors import NUMPY_TYPES

__all__ = [
    "TRITON_STRING_TO_NUMPY",
    "ModelConfig",
    "get_input_config_by_name",
    "get_input_tensor_by_name",
    "get_output_config_by_name",
    "get_output_tensor_by_name",
    "numpy_to_triton_type",
    "triton_string_to_numpy",
    "triton_to_numpy_type",
    "using_decoupled_model_transaction_policy",
]

Config = dict[str, Any]

TRITON_STRING_TO_NUMPY = {**NUMPY_TYPES, "TYPE_BOOL": bool}


def triton_string_to_numpy(triton_type_string: str) -> Any:
    """The numpy type of a config.pbtxt type. Raises KeyError for one that numpy has not."""
    return TRITON_STRING_TO_NUMPY[triton_type_string]


def triton_to_numpy_type(data_type: int) -> Any:
    """The numpy type of one of Triton's numbers, or None."""
    return dict(enumerate(NUMPY_TYPES.values(), start=1)).get(data_type)


def numpy_to_triton_type(data_type: Any) -> int | None:
    """Triton's number of a numpy type, or None."""
    numbers = (number for number, known in enumerate(NUMPY_TYPES.values(), start=1) if data_type == known)
    return next(numbers, len(NUMPY_TYPES) if data_type == np.bytes_ else None)


def get_input_tensor_by_name(inference_request: Any, name: str) -> Any:
    return next((tensor for tensor in inference_request.inputs() if tensor.name() == name), None)


def get_output_tensor_by_name(inference_response: Any, name: str) -> Any:
    return next((tensor for tensor in inference_response.output_tensors() if tensor.name() == name), None)


def get_input_config_by_name(model_config: Config, name: str) -> Any:
    return next((tensor for tensor in model_config.get("input", ()) if tensor["name"] == name), None)


def get_output_config_by_name(model_config: Config, name: str) -> Any:
    return next((tensor for tensor in model_config.get("output", ()) if tensor["name"] == name), None)


def using_decoupled_model_transaction_policy(model_config: Config) -> bool:
    policy = model_config.get("model_transaction_policy")
    return False if policy is None else policy["decoupled"]


class ModelConfig:
    """What `auto_complete_config` gets and gives back. Every refusal is a ValueError, in Triton's words."""

    def __init__(self, model_config: str) -> None:
        self._model_config: Config = json.loads(model_config)

    def as_dict(self) -> Config:
        """The live configuration: what is changed in it is changed."""
        return self._model_config

    def set_max_batch_size(self, max_batch_size: int) -> None:
        given = self._model_config["max_batch_size"]
        if given > max_batch_size:
            raise ValueError(
                f"configuration specified max_batch_size {given}, but in auto-complete-config function for "
                f"model '{self._name}' specified max_batch_size {max_batch_size}"
            )
        self._model_config["max_batch_size"] = max_batch_size

    def set_dynamic_batching(self) -> None:
        for scheduler in ("sequence_batching", "ensemble_scheduling"):
            if scheduler in self._model_config:
                raise ValueError(
                    f"Configuration specified scheduling_choice as '{scheduler}', but auto-complete-config function "
                    f"for model '{self._name}' tries to set scheduling_choice as 'dynamic_batching'"
                )
        self._model_config.setdefault("dynamic_batching", {})

    def add_input(self, input: Mapping[str, Any]) -> None:
        self._add(
            "input", input, ("name", "data_type", "dims", "optional"), "'name', 'data_type', 'dims' and 'optional'"
        )

    def add_output(self, output: Mapping[str, Any]) -> None:
        self._add("output", output, ("name", "data_type", "dims"), "'name', 'data_type' and 'dims'")

    def set_model_transaction_policy(self, transaction_policy_dict: Mapping[str, Any]) -> None:
        if any(name != "decoupled" for name in transaction_policy_dict):
            raise ValueError(
                f"model transaction property in auto-complete-config function for model '{self._name}' "
                "contains property other than 'decoupled'."
            )
        policy = self._model_config.setdefault("model_transaction_policy", {})
        if "decoupled" in transaction_policy_dict:
            wanted = transaction_policy_dict["decoupled"]
            if policy.get("decoupled", wanted) != wanted:
                raise ValueError(
                    "trying to change decoupled property in auto-complete-config "
                    f"for model '{self._name}', which is already set to '{policy['decoupled']}'."
                )
            policy["decoupled"] = wanted

    @property
    def _name(self) -> str:
        return str(self._model_config["name"])

    def _add(self, kind: str, tensor: Mapping[str, Any], properties: tuple[str, ...], listed: str) -> None:
        where = f"in auto-complete-config function for model '{self._name}'"
        if any(name not in properties for name in tensor):
            raise ValueError(f"{kind} '{tensor['name']}' {where} contains property other than {listed}.")
        if "name" not in tensor:
            raise ValueError(f"{kind} {where} is missing 'name' property.")
        for wanted in ("data_type", "dims"):
            if wanted not in tensor:
                raise ValueError(f"{kind} '{tensor['name']}' {where} is missing '{wanted}' property.")
        for known in self._model_config[kind]:
            if known["name"] == tensor["name"]:
                self._require_same(kind, known, tensor)
                known.update((name, tensor[name]) for name in properties if name in tensor)
                return
        self._model_config[kind].append(tensor)

    def _require_same(self, kind: str, known: Mapping[str, Any], tensor: Mapping[str, Any]) -> None:
        name = tensor["name"]
        if known["data_type"] not in ("TYPE_INVALID", tensor["data_type"]):
            raise ValueError(
                f"unable to load model '{self._name}', configuration expects datatype {known['data_type']} "
                f"for {kind} '{name}', model provides {tensor['data_type']}"
            )
        for each in ("dims", "optional"):
            given, wanted = known.get(each), tensor.get(each)
            if given != wanted and None not in (given, wanted) and given != []:
                raise ValueError(
                    f"model '{self._name}', tensor '{name}': the model expects {each} {wanted} "
                    f"but the model configuration specifies {each} {given}"
                )
