"""Coarse-to-fine U-Net segmentation: full-resolution masks at a coarse-resolution price.

The package is the face of four folders: ``foveate.train``, ``foveate.export``,
``foveate.runtime`` and ``foveate.benchmarks``. Nothing heavy is imported here.
"""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime sends some from 1.29 on

__version__ = "0.1.0"
