"""Writing ONNX operators one after the other: each call returns the name of its output."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto, helper, numpy_helper


class GraphWriter:
    """The nodes and constants of a graph under construction. Equal constants are stored once."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self._known: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def op(self, kind: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        """Add a node and return its one output's name."""
        output = name or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        return output

    def ops(self, kind: str, *inputs: str, names: tuple[str, ...], **attributes: Any) -> None:
        """Add a node with several outputs, of the names given."""
        made = helper.make_node(kind, list(inputs), list(names), name=names[0], **attributes)
        self.nodes.append(made)

    def array(self, values: npt.NDArray[np.generic], name: str | None = None) -> str:
        """Store an array and return its name."""
        key = (str(values.dtype), values.shape, values.tobytes())
        if name is None and key in self._known:
            return self._known[key]
        label = name or f"constant_{len(self.initializers)}"
        ordered = np.asarray(values, order="C")  # ascontiguousarray would give a scalar an axis
        self.initializers.append(numpy_helper.from_array(ordered, label))
        return self._known.setdefault(key, label) if name is None else label

    def constant(self, value: float) -> str:
        """Store a float32 of shape (1,)."""
        return self.array(np.array([value], np.float32))

    def scalar(self, value: float) -> str:
        """Store a float32 of shape ()."""
        return self.array(np.array(value, np.float32))

    def ints(self, *values: int) -> str:
        """Store int64 values of shape (n,), as axes and shapes want them."""
        return self.array(np.array(values, np.int64))
