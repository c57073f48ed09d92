"""TensorRT plans, built into the cache. Needs neither torch nor onnx."""
