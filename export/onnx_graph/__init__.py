"""The fused cascade as an ONNX graph: geometry, networks, lint."""
