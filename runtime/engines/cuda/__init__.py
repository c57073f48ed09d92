"""The only place that touches CUDA."""
