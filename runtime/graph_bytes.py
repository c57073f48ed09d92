"""What a bundle's ONNX bytes must not hold, read without the onnx package.

An ONNX file is nested protobuf messages. This walk follows every message in which ONNX can put a
tensor or a node, and refuses data kept in other files, operators of other domains, and weights
that are not finite: a ReLU turns NaN to 0, so a wrong mask would come out looking sound.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MAX_DEPTH = 64

_INSIDE = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "function": {7: "node", 11: "attribute"},
    "tensor": {},
}
"""Message -> field number -> the message in it (onnx.proto, IR version 9)."""

_DOMAIN = 7
_DATA_TYPE, _FLOAT_DATA, _RAW_DATA, _DOUBLE_DATA = 2, 4, 9, 10
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_FLOATS = {1: "<f4", 10: "<f2", 11: "<f8"}
"""ONNX data type -> the numpy type of its raw bytes."""


def graph_problem(data: bytes) -> str:
    """Return why ONNX bytes are refused, in words that follow the file's name; "" if they are not.

    Data in other files is found by its field, however its number, length or key is encoded.
    """
    try:
        return _problem(data, 0, len(data), "model", 0)
    except (ValueError, IndexError):
        return "is not an ONNX file, or is damaged"


def _problem(data: bytes, start: int, stop: int, kind: str, depth: int) -> str:
    if depth > MAX_DEPTH:
        raise ValueError
    if kind == "tensor":
        return _tensor_problem(data, start, stop)
    inside = _INSIDE[kind]
    for number, wire, first, last in _fields(data, start, stop):
        if kind == "node" and number == _DOMAIN and data[first:last] not in (b"", b"ai.onnx"):
            return f"uses operators of the domain {data[first:last][:40]!r}; wanted ONNX's own"
        if wire == BYTES and number in inside:
            found = _problem(data, first, last, inside[number], depth + 1)
            if found:
                return found
    return ""


def _tensor_problem(data: bytes, start: int, stop: int) -> str:
    kind, values = "", []
    for number, wire, first, last in _fields(data, start, stop):
        if number == _EXTERNAL_DATA or (number == _DATA_LOCATION and data[first:last] != b"\0"):
            return "keeps weights in other files (ONNX external data); wanted them inside"
        if number == _DATA_TYPE and wire == VARINT:
            kind = _FLOATS.get(_varint(data, first)[0], "")
        elif number == _FLOAT_DATA:
            values.append(("<f4", data[first:last]))
        elif number == _DOUBLE_DATA:
            values.append(("<f8", data[first:last]))
        elif number == _RAW_DATA and wire == BYTES:
            values.append(("", data[first:last]))
    for own, content in values:
        if (own or kind) and not np.isfinite(np.frombuffer(content, own or kind)).all():
            return "has weights that are not finite"
    return ""


def _fields(data: bytes, start: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield number, wire type, start and stop of the content of each field of a message."""
    position = start
    while position < stop:
        tag, position = _varint(data, position)
        number, wire = (tag & 0xFFFFFFFF) >> 3, tag & 7
        first = position
        if wire == VARINT:
            _, position = _varint(data, position)
        elif wire == BYTES:
            length, first = _varint(data, position)
            position = first + length
        elif wire in (FIXED64, FIXED32):
            position += 8 if wire == FIXED64 else 4
        else:
            raise ValueError  # groups are not part of ONNX
        if position > stop or number == 0:
            raise ValueError
        yield number, wire, first, position


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """Return a varint and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError
