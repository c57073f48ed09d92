"""Export: a trained run becomes a bundle, one fused ONNX graph per precision."""
