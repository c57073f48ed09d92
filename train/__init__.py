"""Training: a data set of images and masks becomes a run (PyTorch)."""
