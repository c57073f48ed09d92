"""The cascade in PyTorch: the reference that every engine is compared with."""
