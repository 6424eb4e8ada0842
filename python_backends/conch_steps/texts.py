"""The bytes of a BYTES tensor as text, with refusals that name the tensor and the place in it."""

from __future__ import annotations

from conch_steps.errors import InvalidInput


def utf8(raw: bytes, where: str, max_bytes: int) -> str:
    """The text of one element; `where` names it in refusals. Raises InvalidInput when it is too long or not UTF-8."""
    if len(raw) > max_bytes:
        raise InvalidInput(f"{where} has {len(raw)} bytes, the limit is {max_bytes}: shorten it or split it")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as problem:
        raise InvalidInput(f"{where} is not UTF-8: byte {problem.start} is 0x{raw[problem.start]:02x}") from problem
