"""Check a bundle's ONNX bytes for what they must not hold, without the onnx package.

An ONNX file is nested protobuf messages. This walk follows every message in which ONNX can put a
tensor or a node, and refuses data kept in other files, operators of other domains, and numbers
that are not finite: a ReLU turns NaN to 0, so a wrong mask would come out looking sound. Encodings
of numbers that ``foveate export`` never writes are refused, not decoded.
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

_GRAPH, _NODE = 7, 1
_DOMAIN = 7
_FLOAT, _FLOAT_LIST = 2, 7
"""Fields of an attribute that hold numbers themselves."""
_DATA_TYPE, _FLOAT_DATA, _INT32_DATA, _RAW_DATA, _DOUBLE_DATA = 2, 4, 5, 9, 10
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_FLOATS = {1: "<f4", 10: "<f2", 11: "<f8", 14: "<f4", 15: "<f8"}
"""ONNX data type -> the numpy type of its raw bytes; a complex number is two."""
_HALF, _LAST_TYPE = 10, 15
"""ONNX data types; behind the last there are bfloat16, 8 bits and 4 bits."""
_ONCE = {("attribute", 5), ("attribute", 22), ("sparse", 1), ("sparse", 2)}
"""Fields that protobuf merges into one tensor where they stand twice: of one the type, of another
the numbers.
"""


def graph_problem(data: bytes) -> str:
    """Return why ONNX bytes are refused, in words that follow the file's name; "" if they are not.

    Data in other files is found by its field, however its number, length or key is encoded.
    """
    try:
        graphs = _inside(data, 0, len(data), _GRAPH)
        if not any(True for graph in graphs for _ in _inside(data, *graph, _NODE)):
            return "has no ONNX graph, or an empty one; expected what foveate export writes"
        return _problem(data, 0, len(data), "model", 0)
    except (ValueError, IndexError):
        return "is not an ONNX file, or is damaged"


def _problem(data: bytes, start: int, stop: int, kind: str, depth: int) -> str:
    if depth > MAX_DEPTH:
        raise ValueError
    if kind == "tensor":
        return _tensor_problem(data, start, stop)
    inside, seen = _INSIDE[kind], set[int]()
    for number, wire, first, last in _fields(data, start, stop):
        if kind == "attribute" and number in (_FLOAT, _FLOAT_LIST):
            if not np.isfinite(np.frombuffer(data[first:last], "<f4")).all():
                return "has attributes that are not finite"
        if kind == "node" and number == _DOMAIN and data[first:last] not in (b"", b"ai.onnx"):
            return f"uses operators of the domain {data[first:last][:40]!r}; expected ONNX's own"
        if wire == BYTES and number in inside:
            if number in seen and (kind, number) in _ONCE:
                raise ValueError
            seen.add(number)
            found = _problem(data, first, last, inside[number], depth + 1)
            if found:
                return found
    return ""


def _tensor_problem(data: bytes, start: int, stop: int) -> str:
    kind, values, listed = 0, [], False
    view = memoryview(data)  # a copy of the weights would take as long as the check
    for number, wire, first, last in _fields(data, start, stop):
        if number == _EXTERNAL_DATA or (number == _DATA_LOCATION and data[first:last] != b"\0"):
            return "keeps weights in other files (ONNX external data); expected them inside"
        if number == _DATA_TYPE and wire == VARINT:
            kind = _varint(data, first)[0] & 0xFFFFFFFF
        elif number == _FLOAT_DATA:
            values.append(("<f4", view[first:last]))
        elif number == _DOUBLE_DATA:
            values.append(("<f8", view[first:last]))
        elif number == _INT32_DATA:
            listed = True
        elif number == _RAW_DATA and wire == BYTES:
            values.append(("", view[first:last]))
    if kind > _LAST_TYPE or (kind == _HALF and listed):
        written = "listed as integers" if kind == _HALF else f"of the ONNX type {kind}"
        return f"has numbers {written}; expected what foveate export writes"
    raw = _FLOATS.get(kind, "")
    for own, content in values:
        if (own or raw) and not np.isfinite(np.frombuffer(content, own or raw)).all():
            return "has weights that are not finite"
    return ""


def _inside(data: bytes, start: int, stop: int, number: int) -> Iterator[tuple[int, int]]:
    """Yield start and stop of each message that a message has under a field's number."""
    for found, wire, first, last in _fields(data, start, stop):
        if found == number and wire == BYTES:
            yield first, last


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
