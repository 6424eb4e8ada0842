"""Which tensors a source reads of a request, and which it puts into a response."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from conch_tools.check.sources.requests import INPUT_BY_NAME, Requests
from conch_tools.check.sources.source import COMPLETION, Source, argument, dotted, keyword

RESPONSE = "InferenceResponse"
TENSOR_MAKERS = ("Tensor", "Tensor.from_dlpack")
OUTPUT_BY_NAME = "get_output_tensor_by_name"
BLS_REQUEST = "InferenceRequest"
_NUMPY_TYPES = {
    "float16": "TYPE_FP16", "half": "TYPE_FP16", "float32": "TYPE_FP32", "float64": "TYPE_FP64",
    "int8": "TYPE_INT8", "int16": "TYPE_INT16", "int32": "TYPE_INT32", "int64": "TYPE_INT64",
    "uint8": "TYPE_UINT8", "uint16": "TYPE_UINT16", "uint32": "TYPE_UINT32", "uint64": "TYPE_UINT64",
    "bool_": "TYPE_BOOL", "object_": "TYPE_STRING", "bytes_": "TYPE_STRING",
}  # fmt: skip
_DATA_TYPES: Mapping[str, str] = {
    **{f"{module}.{name}": data_type for module in ("np", "numpy") for name, data_type in _NUMPY_TYPES.items()},
    "object": "TYPE_STRING",
    "bool": "TYPE_BOOL",
}
"""What an array's type is to Triton, as sources write it."""
_ALL_INPUTS = "inputs"
"""The method of a request that gives its tensors without asking for their names."""


@dataclass(frozen=True)
class Use:
    """A place where a tensor is named. `names` is None where they are not known before the model runs."""

    node: ast.Call
    names: frozenset[str] | None


@dataclass(frozen=True, eq=False)
class Tensors:
    """The tensors of a source."""

    source: Source
    requests: Requests

    @cached_property
    def reads(self) -> tuple[Use, ...]:
        """The inputs that are read of requests."""
        return tuple(self._uses(INPUT_BY_NAME, position=1, keyword="name"))

    @cached_property
    def made(self) -> tuple[Use, ...]:
        """The tensors that are made, for responses and for requests to other models."""
        return tuple(use for utility in TENSOR_MAKERS for use in self._uses(utility, position=0, keyword="name"))

    def _uses(self, utility: str, position: int, keyword: str) -> Iterator[Use]:
        for call in self.source.calls_of(utility):
            name = argument(call, position, keyword)
            yield Use(call, None if name is None else self.source.names.texts(name))

    @cached_property
    def answered(self) -> tuple[Use, ...]:
        """The tensors that are made for responses: those inside of them, where all of these can be followed."""
        inside = {node for tensor in self._answers or () for node in ast.walk(tensor)}
        if self._answers is not None:
            return tuple(use for use in self.made if use.node in inside)
        return () if any(self.source.calls_of(BLS_REQUEST)) else self.made

    @cached_property
    def _answers(self) -> tuple[ast.expr, ...] | None:
        """The tensors of all responses as expressions; None where some are not written down one by one."""
        found: list[ast.expr] = []
        for call in self.source.calls_of(RESPONSE):
            tensors = argument(call, 0, "output_tensors")
            elements = self.source.elements(tensors) if tensors is not None else ()
            if elements is None:
                return None
            found += [self.source.names.value(element) for element in elements]
        return tuple(found)

    @cached_property
    def reads_are_known(self) -> bool:
        """Whether `reads` is all that is read of requests."""
        named = all(use.names is not None for use in self.reads)
        return named and not self._without_names and not self.requests.escape and self.source.execute is not None

    @cached_property
    def answers_are_known(self) -> bool:
        """Whether `answered` is all that is put into responses: lists of tensors that are made on the spot."""
        made = {use.node for use in self.made}
        named = all(use.names is not None for use in self.made)
        made_here = all(isinstance(answer, ast.Call) and answer in made for answer in self._answers or ())
        return named and made_here and bool(self._answers) and not self.requests.escape

    @cached_property
    def _without_names(self) -> bool:
        attributes = self.source.served_of(ast.Attribute)
        return any(node.attr == _ALL_INPUTS and self.requests.is_request(node.value) for node in attributes)

    @cached_property
    def completed(self) -> frozenset[str]:
        """Every text in `auto_complete_config`: the names of the tensors that the model may add are among them."""
        method = self.source.method(COMPLETION)
        found = ast.walk(method) if method is not None else ()
        constants = (node.value for node in found if isinstance(node, ast.Constant))
        return frozenset(value for value in constants if isinstance(value, str))

    def data_type(self, use: Use) -> str | None:
        """The type that a tensor is made with, where its array is converted to one on the spot; else None."""
        array = argument(use.node, 1, "data")
        value = self.source.names.value(array) if array is not None else None
        match value:
            case ast.Call(func=ast.Attribute(attr="astype"), args=[given, *_]):
                return _DATA_TYPES.get(dotted(given) or "")
            case ast.Call(func=ast.Attribute(attr="array" | "asarray" | "full" | "zeros" | "ones")):
                given = keyword(value, "dtype") or ast.Constant(None)
                return _DATA_TYPES.get(dotted(given) or "")
        return None

    def may_be_absent(self, read: ast.Call) -> bool:
        """Whether the source may be prepared for an input that is not there, for which it gets None.

        It is not where it asks the tensor for its content at once, or keeps it under a name that it uses for nothing
        else.
        """
        if any(isinstance(node, ast.Try) for node in self.source.around(read)):
            return True
        match self.source.parents[read]:
            case ast.Attribute() | ast.Subscript():
                return False
            case ast.Assign(targets=[ast.Name(id=name)]):
                around = self.source.function_of(read) or self.source.tree
                uses = (node for node in ast.walk(around) if isinstance(node, ast.Name) and node.id == name)
                loads = [node for node in uses if isinstance(node.ctx, ast.Load)]
                asked = (isinstance(self.source.parents[node], ast.Attribute | ast.Subscript) for node in loads)
                return not loads or not all(asked)
        return True
