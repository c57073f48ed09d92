"""TensorRT plans: stored, found and run."""
