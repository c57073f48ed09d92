"""Networks that ``import`` refuses: one line, exit code 2."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from tests.bad.case import Case, Place
from tests.export.importing.networks import write_model

SIDES: list[int | str] = ["N", 1, 32, 32]


def conv() -> onnx.NodeProto:
    return helper.make_node("Conv", ["image", "w"], ["out"])


def weight(channels: int = 1, maps: int = 1) -> list[TensorProto]:
    values = np.linspace(-3, 3, maps * channels, dtype=np.float32).reshape(maps, channels, 1, 1)
    return [numpy_helper.from_array(values, "w")]


def case(given: str, said: str, make: Callable[[Path], Path], *more: object) -> Case:
    """Return the case of a network file, with how its images were normalised."""

    def arguments(place: Place) -> list[object]:
        path = make(place.folder / "net.onnx")
        how = () if "--normalise" in more else ("--normalise", "0-1")
        return ["import", path, *how, *more, "--out", place.folder / "out"]

    return Case(given, said, 2, arguments)


def one_node(
    kind: str,
    weights: Sequence[TensorProto] = (),
    sides: list[int | str] | None = SIDES,
    **more: object,
) -> Callable[[Path], Path]:
    opset = int(str(more.pop("opset", 17)))
    node = helper.make_node(kind, ["image", *(item.name for item in weights)], ["out"], **more)
    return lambda path: write_model(path, [node], sides, weights, opset=opset)


def _sound(path: Path) -> Path:
    return write_model(path, [conv()], SIDES, weight())


def _cut(path: Path) -> Path:
    path.write_bytes(_sound(path).read_bytes()[:-40])
    return path


def _pickle(path: Path) -> Path:
    path = path.with_suffix(".pt")
    torch.save(torch.nn.Conv2d(1, 1, 1).state_dict(), path)
    return path


def _two_inputs(path: Path) -> Path:
    model = onnx.load(_sound(path))
    model.graph.input.append(helper.make_tensor_value_info("age", TensorProto.FLOAT, ["N", 1]))
    onnx.save(model, path)
    return path


def _half(path: Path) -> Path:
    weights = [numpy_helper.from_array(np.ones((1, 1, 1, 1), np.float16), "w")]
    return write_model(path, [conv()], SIDES, weights, kind=TensorProto.FLOAT16)


def _two_gigabytes(path: Path) -> Path:
    model = onnx.load(_sound(path))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="net.data")
    onnx.save(model, path)
    with (path.parent / "net.data").open("wb") as file:
        file.truncate(2 << 30)  # sparse: no disk is filled
    return path


def _without_weights(path: Path) -> Path:
    _two_gigabytes(path)
    (path.parent / "net.data").unlink()
    return path


def _empty(path: Path) -> Path:
    path.touch()
    return path


def _argmax(path: Path) -> Path:
    model = onnx.load(one_node("ArgMax")(path))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    onnx.save(model, path)
    return path


def _squeezed(path: Path) -> Path:
    return one_node("Squeeze", [numpy_helper.from_array(np.array([1]), "axes")])(path)


def _halving(path: Path) -> Path:
    """Write a network that halves, doubles and adds: even sides only."""
    nodes = [
        helper.make_node("MaxPool", ["image"], ["low"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Resize", ["low", "", "twice"], ["up"], mode="nearest"),
        helper.make_node("Add", ["image", "up"], ["out"]),
    ]
    twice = numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "twice")
    return write_model(path, nodes, ["N", 1, "H", "W"], [twice])


def _not_finite(path: Path) -> Path:
    return write_model(
        path, [conv()], SIDES, [numpy_helper.from_array(np.full((1, 1, 1, 1), np.nan, "f4"), "w")]
    )


def _detector(path: Path) -> Path:
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("TopK", ["flat", "k"], ["out", "places"]),
    ]
    return write_model(path, nodes, SIDES, [numpy_helper.from_array(np.array([5]), "k")])


def _two_maps(path: Path) -> Path:
    model = onnx.load(_sound(path))
    model.graph.node.append(helper.make_node("Neg", ["out"], ["aux"]))
    model.graph.output.append(helper.make_tensor_value_info("aux", TensorProto.FLOAT, SIDES))
    onnx.save(model, path)
    return path


def _grid(path: Path) -> Path:
    grid = np.zeros((1, 32, 32, 2), np.float32)
    return one_node("GridSample", [numpy_helper.from_array(grid, "g")])(path)


IMPORTS = [
    case("import of a classifier", "gives no float32 map N C H W or N H W C as large as its …",
         one_node("GlobalAveragePool")),
    case("import of a detector", "A classifier or detector cannot be imported; …", _detector),
    case("import of a network of two inputs", "has 2 inputs (image, age); expected one, …",
         _two_inputs),
    case("import of a network of four channels", "has 4 channels; expected 1 or 3. A stage 2 …",
         one_node("Conv", weight(4), ["N", 4, 32, 32])),
    case("import of a float16 network", "is FLOAT16; expected float32. Export it in float32; …",
         _half),
    case("import of a network of dynamic rank", "has no fixed number of axes; expected four, …",
         one_node("Relu", sides=None)),
    case("import of 2 GB in two files", "has 2.1 GB with the files of its weights; …",
         _two_gigabytes),
    case("import of a file cut short", "is not an ONNX file, or is cut short. Copy it again", _cut),
    case("import of a pickle", "is a pickle of PyTorch, which could run any code, or …", _pickle),
    case("import of an empty file", "is empty (0 bytes). Copy it again", _empty),
    case("import without the file of the weights", "its weights are in net.data; copy that file …",
         _without_weights),
    case("import of classes, not values", "Export it without the ArgMax", _argmax),
    case("import of maps without an axis", "Export it with the channel axis", _squeezed),
    case("import at a size that the network cannot take", "cannot run at 33x33; its sides may …",
         _halving, "--size", "33x33"),
    case("import of operator set 9", "is of operator set 9; expected 10 to 23. …",
         one_node("Conv", weight(), opset=9)),
    case("import of operator set 24", "is of operator set 24; expected 10 to 23. …",
         one_node("Conv", weight(), opset=24)),
    case("import of weights that are not finite", "has weights that are not finite", _not_finite),
    case("import of several maps", "say which one with --output: out, aux. The first …", _two_maps),
    case("import without --normalise", "say how images were normalised in …", _sound,
         "--normalise", ""),
    case("import of a normalisation of 8 bits", 'normalise "127,58": expected zscore, 0-1, …',
         _sound, "--normalise", "127,58"),
    case("import of any size without --size", "takes any size; say which one with --size HxW, …",
         one_node("Conv", weight(), ["N", 1, "H", "W"])),
    case("import of three maps without an end", "say what has to follow: --activation softmax …",
         one_node("Conv", weight(1, 3))),
    case("import of overlapping classes", "classes that may overlap. …",
         one_node("Conv", weight(1, 3)), "--activation", "sigmoid"),
    case("import with names for no class", "--classes: 2 name(s) for 1 foreground class(es); …",
         _sound, "--classes", "a,b"),
    case("import of GridSample", "GridSample (…", _grid),
]  # fmt: skip
