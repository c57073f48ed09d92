"""Find what a network takes and gives: layout, channels, size, output, activation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper

from foveate.export.importing.network_file import NetworkFile, inputs
from foveate.runtime.arrays import Array
from foveate.runtime.engines.onnxruntime import OnnxRuntimeEngine
from foveate.runtime.errors import BundleError, GraphError, SettingsError
from foveate.runtime.spec import Size

PASSING = ("Identity", "Transpose", "Cast")
"""Operators that an activation may be in front of."""
MAPS = 256
PROBE = 3.0
"""Deviation of the noise that a network is tried on."""


@dataclass(frozen=True)
class Interface:
    """What a network takes and gives.

    ``channels`` are those of its input, ``image`` those of an image, 1 for grey; ``maps`` are those
    of its output. ``size`` is the input's, None where it takes any. ``activation`` is the network's
    own, that its output has been through: sigmoid, softmax, or none, which leaves logits. ``cut``
    is the tensor in front of that activation, "" where the output itself has to be taken.
    """

    input: str
    output: str
    channels_last: bool
    channels: int
    image: int
    maps_last: bool
    maps: int
    size: Size | None
    activation: str
    cut: str

    def words(self) -> str:
        """Say what was found."""
        layout = "NHWC" if self.channels_last else "NCHW"
        known = {2: ", grey and stage 1's probability"}
        known |= {3: ", grey repeated", 4: ", grey repeated, stage 1's probability"}
        if self.image > 1:
            known = {
                self.image: ", the image's",
                self.image + 1: ", the last stage 1's probability",
            }
        size = "any size" if self.size is None else f"{self.size.height}x{self.size.width}"
        end = "logits" if self.activation == "none" else f"{self.activation} in the network"
        return (
            f'input "{self.input}" float32 {layout}, {self.channels} channel(s)'
            f"{known.get(self.channels, '')}, {size}; "
            f'output "{self.output}" of {self.maps} map(s), {end}'
        )


def find_input(file: NetworkFile, image: int, hint: bool) -> tuple[str, bool, int, Size | None]:
    """Return the input's name, whether its channels are last, their number, and the size.

    ``image`` is the number of an image's channels, 1 for grey. BundleError for what no image can be
    given to.
    """
    found = inputs(file.model)
    if len(found) != 1:
        names = ", ".join(item.name for item in found)
        raise BundleError(
            f"{file.name}: has {len(found)} inputs ({names}); expected one, the image"
        )
    (item,), kind = found, found[0].type.tensor_type
    if kind.elem_type != TensorProto.FLOAT:
        raise BundleError(
            f"{file.name}: its input {item.name} is {TensorProto.DataType.Name(kind.elem_type)}; "
            "expected float32. Export it in float32; foveate makes fp16 and int8 itself"
        )
    sides = [side.dim_value for side in kind.shape.dim]  # 0: any
    if len(sides) != 4:
        raise BundleError(
            f"{file.name}: its input {item.name} has {len(sides) or 'no fixed number of'} axes; "
            "expected four, N C H W or N H W C"
        )
    expected = tuple(count + hint for count in ((1, 3) if image == 1 else (image,)))
    last = sides[1] not in expected and sides[3] in expected
    channels = sides[3] if last else sides[1]
    if channels not in expected:
        raise BundleError(
            f"{file.name}: its input {item.name} has {channels or 'any number of'} channels; "
            f"expected {' or '.join(map(str, expected))}{_hint_words(hint)}"
        )
    height, width = sides[1:3] if last else sides[2:4]
    size = Size(height, width) if height and width else None
    return item.name, last, channels, size


def _hint_words(hint: bool) -> str:
    if hint:
        return ": with --hint the last one is stage 1's probability"
    return ". A stage 2 that also takes stage 1's probability goes with --hint"


def find_interface(
    file: NetworkFile, tried: Size, image: int, hint: bool, output: str, activation: str
) -> Interface:
    """Return the interface of a network, tried on noise of a size where it takes any.

    ``output`` and ``activation`` are the user's, "" where not given: SettingsError says which one
    has to be.
    """
    name, last, channels, own = find_input(file, image, hint)
    tried = own or tried
    sides = (1, channels, tried.height, tried.width)
    noise = np.random.default_rng(0).normal(0, PROBE, sides).astype(np.float32)
    feed = np.ascontiguousarray(noise.transpose(0, 2, 3, 1)) if last else noise
    try:
        with OnnxRuntimeEngine(file.model.SerializeToString()) as engine:
            made = engine.run({name: feed}, [item.name for item in engine.outputs])
    except GraphError as error:
        sizes = f" cannot run at {tried.height}x{tried.width}; its sides may have to be multiples"
        sizes = "" if own else f"{sizes} of 8, 16 or 32 (--size, --pad-multiple):"
        raise BundleError(f"{file.name}:{sizes} {error}") from None
    chosen = _choose_output(file.name, made, tried, output)
    values = made[chosen]
    maps_last = values.shape[2:] != (tried.height, tried.width)
    maps = values.shape[3 if maps_last else 1]
    if not 1 <= maps <= MAPS:
        raise BundleError(f"{file.name}: gives {maps} maps; expected 1 to {MAPS}")
    end, cut = find_activation(file.model, chosen, 3 if maps_last else 1)
    if end == "softmax" and not np.allclose(values.sum(axis=3 if maps_last else 1), 1, atol=1e-4):
        end, cut = "", ""  # along another axis
    if not end:
        end = _activation_of_values(file.name, values, 3 if maps_last else 1, activation)
    elif activation not in ("", "none", end):
        raise SettingsError(
            f"--activation {activation}: {file.name} ends with a {end} already; leave it out"
        )
    kind = end.removeprefix("no ")
    if kind == "sigmoid" and maps > 1:
        raise BundleError(
            f"{file.name}: gives {maps} maps that each go through a sigmoid: classes that may "
            "overlap. A mask has one class a pixel: export one map alone, or train with softmax"
        )
    own_activation = "none" if end.startswith("no ") else end
    return Interface(name, chosen, last, channels, image, maps_last, maps, own, own_activation, cut)


def _choose_output(name: str, made: dict[str, Array], size: Size, output: str) -> str:
    """Return the output that is a map as large as the input."""
    sides = (size.height, size.width)
    fitting = [
        key
        for key, values in made.items()
        if values.ndim == 4
        and values.dtype == np.float32
        and sides in (values.shape[2:], values.shape[1:3])
    ]
    shapes = "; ".join(f"{key} {list(values.shape)} {values.dtype}" for key, values in made.items())
    if output and output not in fitting:
        raise SettingsError(
            f"--output {output}: is not a float32 map as large as the input, "
            f"{sides[0]}x{sides[1]}; {name} gives {shapes[:300]}"
        )
    if not fitting:
        labels = any(values.dtype.kind in "iu" for values in made.values())
        flat = any(values.ndim == 3 and values.shape[1:] == sides for values in made.values())
        advice = "A classifier or detector cannot be imported; of a network that gives smaller "
        advice += "maps, export it with the upsampling"
        if flat or labels:
            advice = "Export it without the ArgMax" if labels else "Export it with the channel axis"
        raise BundleError(
            f"{name}: gives no float32 map N C H W or N H W C as large as its input, "
            f"{sides[0]}x{sides[1]}, but {shapes[:300]}. {advice}"
        )
    if not output and len(fitting) > 1:
        raise SettingsError(
            f"{name}: several outputs are as large as the input ({shapes[:300]}); say which one "
            f"with --output: {', '.join(fitting)}. The first is usually the main one"
        )
    return output or fitting[0]


def find_activation(model: onnx.ModelProto, output: str, axis: int) -> tuple[str, str]:
    """Return the activation that a network ends with, and the tensor to take instead of its own.

    "" where it ends with none. Only layout may change behind it.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    name, behind = output, False
    while node := makers.get(name):
        if node.op_type == "Sigmoid":
            return "sigmoid", "" if behind else node.input[0]
        if node.op_type == "Softmax":
            along = _axis(node)
            right = behind or along in (axis, axis - 4)
            return ("softmax", "" if behind else node.input[0]) if right else ("", "")
        if node.op_type not in PASSING:
            return "", ""
        behind = True
        name = node.input[0]
    return "", ""


def _axis(node: NodeProto) -> int:
    found = [helper.get_attribute_value(a) for a in node.attribute if a.name == "axis"]
    return int(found[0]) if found else -1


def _activation_of_values(name: str, values: Array, axis: int, activation: str) -> str:
    """Return the activation of an output whose last operator does not tell.

    sigmoid or softmax where values are probabilities, else "no sigmoid" or "no softmax": it has to
    follow.
    """
    maps = values.shape[axis]
    bounded = 0 <= values.min() and values.max() <= 1
    whole = bounded and np.allclose(values.sum(axis=axis), 1, atol=1e-4) and maps > 1
    if activation in ("sigmoid", "softmax"):
        if activation == "softmax" and maps == 1:
            raise SettingsError(f"--activation softmax: {name} gives one map; expected sigmoid")
        return f"no {activation}"
    if activation == "none" or whole:
        if not bounded:
            raise SettingsError(
                f"--activation none: {name} gives values from {values.min():g} to "
                f"{values.max():g}, not probabilities; expected sigmoid or softmax"
            )
        return "softmax" if maps > 1 else "sigmoid"
    if bounded or maps > 1:
        kinds: Sequence[str] = ("sigmoid", "none") if maps == 1 else ("softmax", "none")
        raise SettingsError(
            f"{name}: gives {maps} map(s) from {values.min():g} to {values.max():g} and does not "
            f"end with a Sigmoid or Softmax; say what has to follow: --activation "
            f"{' or '.join(kinds)} (they are probabilities already)"
        )
    return "no sigmoid"
