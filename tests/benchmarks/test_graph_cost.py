"""Counted multiply-adds and bytes against counts by hand, and on graphs of every kind."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from foveate.benchmarks.measure.roofline import OperatorCost, multiply_adds, operator_costs
from foveate.export.folding import folded
from foveate.export.onnx_graph.cascade import cascade_model
from foveate.runtime.spec import CascadeSpec, Region, Size
from foveate.train.networks.unet import UNet
from tests.drawing import random_network, threshold_network, threshold_spec


def graph(nodes: list[onnx.NodeProto], **weights: tuple[int, ...]) -> bytes:
    """Return a graph of an (N, H, W) uint8 image whose float32 weights have the shapes given."""
    initializers = [
        numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in weights.items()
    ]
    axis = numpy_helper.from_array(np.array([1], np.int64), "axis")
    front = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["pixels", "axis"], ["stage1_input"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", "H", "W"])
    last = helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)
    made = helper.make_graph(front + nodes, "g", [image], [last], [*initializers, axis])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    return model.SerializeToString()


def only(costs: list[OperatorCost], kind: str) -> OperatorCost:
    (cost,) = [cost for cost in costs if cost.kind == kind]
    return cost


def test_a_convolution_counts_every_weight_at_every_output() -> None:
    node = helper.make_node(
        "Conv", ["stage1_input", "weight", "bias"], ["stage1_logits"], pads=[1] * 4, strides=[2, 2]
    )
    costs = operator_costs(graph([node], weight=(5, 1, 3, 3), bias=(5,)), 2, 16, 20)
    cost = only(costs, "Conv")
    assert cost.part == "stage 1 network"
    assert cost.multiply_adds == 2 * 5 * 8 * 10 * 9 and cost.flop == 2 * cost.multiply_adds
    assert cost.bytes_moved == 4 * (2 * 16 * 20 + 5 * 9 + 5 + 2 * 5 * 8 * 10)
    cast = only(costs, "Cast")
    assert (cast.part, cast.multiply_adds, cast.bytes_moved) == ("geometry", 0, 640 + 4 * 640)


def test_a_transposed_convolution_counts_every_weight_at_every_input() -> None:
    nodes = [
        helper.make_node("Conv", ["stage1_input", "one"], ["deep"]),
        helper.make_node(
            "ConvTranspose", ["deep", "weight"], ["stage1_logits"],
            kernel_shape=[2, 2], strides=[2, 2],
        ),
    ]  # fmt: skip
    cost = only(operator_costs(graph(nodes, one=(6, 1, 1, 1), weight=(6, 3, 2, 2)), 3, 7, 9),
                "ConvTranspose")  # fmt: skip
    assert cost.multiply_adds == 3 * 7 * 9 * 6 * 3 * 4
    assert cost.bytes_moved == 4 * (3 * 6 * 7 * 9 + 6 * 3 * 4 + 3 * 3 * 14 * 18)


def test_a_product_of_stacked_matrices_counts_each_of_the_stack() -> None:
    node = helper.make_node("MatMul", ["rows", "pixels"], ["half"])
    cost = only(operator_costs(graph([node], rows=(1, 4, 16)), 3, 16, 20), "MatMul")
    assert cost.part == "geometry"
    assert cost.multiply_adds == 3 * 4 * 16 * 20
    assert cost.bytes_moved == 4 * (4 * 16 + 3 * 16 * 20 + 3 * 4 * 20)


def test_the_reference_pair_takes_6_gflop_a_network() -> None:
    networks = [folded(UNet(inputs, 1, 16, 4).eval()) for inputs in (1, 2)]
    model = cascade_model(threshold_spec(), networks[0], networks[1], "fp32").SerializeToString()
    adds = multiply_adds(model, 1, 1024, 1024)
    assert 2 * adds["stage 1 network"] == 6_027_214_848
    more = 256 * 256 * 16 * 9  # the second input channel of stage 2's first convolution
    assert adds["stage 2 network"] == adds["stage 1 network"] + more
    resize = 256 * 70 * (1024 + 256)  # 16 cells of 4 pixels reach 70 rows: of the image, turned
    hint = 2 * 256 * 19 * 256  # 16 cells of one
    paste = 16 * 68 * 18 * (256 + 1024)  # 16 blocks of 68 pixels, each of 18 cells
    assert adds["geometry"] == 2 * resize + hint + paste


def test_networks_do_not_grow_with_the_image_but_with_the_batch() -> None:
    networks = [folded(random_network(inputs, 1, inputs)) for inputs in (1, 2)]
    model = cascade_model(threshold_spec(), networks[0], networks[1], "fp32").SerializeToString()
    small, large = multiply_adds(model, 1, 128, 96), multiply_adds(model, 3, 301, 77)
    for part in ("stage 1 network", "stage 2 network"):
        assert large[part] == 3 * small[part] > 0


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_network_at_the_images_own_size_is_counted_with_its_padding(precision: str) -> None:
    spec = CascadeSpec(
        input_type="uint16", stage1=Size(64, 64), stage2=None, classes=("background", "lesion"),
        region=Region("none"), pad_multiple=4,
    )  # fmt: skip
    model = cascade_model(spec, folded(random_network(1, 1, 0)), None, precision)
    costs = operator_costs(model.SerializeToString(), 1, 61, 30)
    first = next(cost for cost in costs if cost.kind == "Conv")
    assert first.multiply_adds == 64 * 32 * 4 * 9
    item_bytes = 4 if precision == "fp32" else 2
    assert first.bytes_moved == item_bytes * (64 * 32 + 4 * 9 + 4 + 4 * 64 * 32)
    assert {cost.part for cost in costs} == {"geometry", "stage 1 network"}


def test_a_single_1x1_convolution_multiplies_once_a_pixel() -> None:
    spec = CascadeSpec(
        input_type="uint8", stage1=Size(64, 64), stage2=None, classes=("background", "shape"),
        region=Region("none"), pad_multiple=1,
    )  # fmt: skip
    model = cascade_model(spec, threshold_network(1), None, "fp32").SerializeToString()
    assert multiply_adds(model, 2, 33, 47) == {"stage 1 network": 2 * 33 * 47, "geometry": 0}
