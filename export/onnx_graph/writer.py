"""Write ONNX operators one after the other: by name, or as arithmetic on values of the graph."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

OPSET = 18
IR_VERSION = 9


class Value:
    """A tensor of the graph by its name; what is done with it becomes an operator.

    Numbers are constants of shape (1,): float32 of a float, int64 of an int. Axes are ints.
    """

    def __init__(self, w: GraphWriter, name: str) -> None:
        self.w, self.name = w, name

    def op(self, kind: str, *others: Operand, name: str | None = None, **attributes: Any) -> Value:
        """Add an operator whose first input this is."""
        return self.w.op(kind, self, *others, name=name, **attributes)

    def __add__(self, other: Operand) -> Value:
        return self.op("Add", other)

    def __sub__(self, other: Operand) -> Value:
        return self.op("Sub", other)

    def __rsub__(self, other: float) -> Value:
        return self.w.op("Sub", other, self)

    def __mul__(self, other: Operand) -> Value:
        return self.op("Mul", other)

    def __truediv__(self, other: Operand) -> Value:
        return self.op("Div", other)

    def __rtruediv__(self, other: float) -> Value:
        return self.w.op("Div", other, self)

    def __gt__(self, other: Operand) -> Value:
        return self.op("Greater", other)

    def __ge__(self, other: Operand) -> Value:
        return self.op("GreaterOrEqual", other)

    def __lt__(self, other: Operand) -> Value:
        return self.op("Less", other)

    def __matmul__(self, other: Value) -> Value:
        return self.op("MatMul", other)

    def __getitem__(self, index: Value) -> Value:
        """Look up along the first axis."""
        return self.op("Gather", index, axis=0)

    def minimum(self, other: Operand) -> Value:
        return self.op("Min", other)

    def maximum(self, other: Operand) -> Value:
        return self.op("Max", other)

    def reduce(self, kind: str, *axes: int, keep: bool = False, name: str | None = None) -> Value:
        """Add ReduceMax, ReduceMin, ReduceMean or ReduceSum along some axes."""
        return self.op(f"Reduce{kind}", self.w.ints(*axes), name=name, keepdims=int(keep))

    def unsqueeze(self, *axes: int, name: str | None = None) -> Value:
        return self.op("Unsqueeze", self.w.ints(*axes), name=name)

    def squeeze(self, *axes: int) -> Value:
        return self.op("Squeeze", self.w.ints(*axes))

    def reshape(self, *sides: int) -> Value:
        return self.op("Reshape", self.w.ints(*sides))

    def transpose(self, *axes: int) -> Value:
        return self.op("Transpose", perm=list(axes))

    def slice(self, start: Operand, stop: Operand, axis: int) -> Value:
        return self.op("Slice", start, stop, axis)

    def to_float(self, name: str | None = None) -> Value:
        return self.op("Cast", name=name, to=TensorProto.FLOAT)

    def to_int64(self) -> Value:
        return self.op("Cast", to=TensorProto.INT64)


Operand = Value | float | str


class GraphWriter:
    """The nodes and constants of a graph under construction. Equal constants are stored once.

    ``prefix`` begins the names that are not given.
    """

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self._known: dict[str | tuple[str, tuple[int, ...], bytes], Value] = {}

    def op(self, kind: str, *inputs: Operand, name: str | None = None, **attributes: Any) -> Value:
        """Add a node and return its one output; a str is the name of a value."""
        names = [self._name(item) for item in inputs]
        output = name or f"{self.prefix}{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, names, [output], name=output, **attributes))
        return Value(self, output)

    def array(self, values: npt.NDArray[np.generic], name: str | None = None) -> Value:
        """Store an array, one of the same name or a nameless one of the same values once."""
        key = name or (str(values.dtype), values.shape, values.tobytes())
        if key in self._known:
            return self._known[key]
        label = name or f"{self.prefix}constant_{len(self.initializers)}"
        ordered = np.asarray(values, order="C")  # ascontiguousarray would give a scalar an axis
        self.initializers.append(numpy_helper.from_array(ordered, label))
        return self._known.setdefault(key, Value(self, label))

    def constant(self, value: float) -> Value:
        """Store a float32 of shape (1,)."""
        return self.array(np.array([value], np.float32))

    def scalar(self, value: float) -> Value:
        """Store a float32 of shape ()."""
        return self.array(np.array(value, np.float32))

    def ints(self, *values: int) -> Value:
        """Store int64 values of shape (n,): axes and shapes."""
        return self.array(np.array(values, np.int64))

    def drop_unused(self, outputs: Iterable[str]) -> None:
        """Take out the nodes and constants that no output depends on."""
        needed, kept = set(outputs), []
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                kept.append(node)
                needed.update(node.input)
        self.nodes = kept[::-1]
        self.initializers = [item for item in self.initializers if item.name in needed]

    def model(
        self, name: str, inputs: Sequence[ValueInfoProto], outputs: Sequence[ValueInfoProto]
    ) -> ModelProto:
        """Return the graph, in one operator set."""
        graph = helper.make_graph(self.nodes, name, inputs, outputs, initializer=self.initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        model.ir_version = IR_VERSION
        return model

    def _name(self, item: Operand) -> str:
        if isinstance(item, str):
            return item
        if isinstance(item, int):
            item = self.ints(item)
        elif isinstance(item, float):
            item = self.constant(item)
        return item.name


def concat(*parts: Value, axis: int, name: str | None = None) -> Value:
    return parts[0].op("Concat", *parts[1:], name=name, axis=axis)
