"""Coarse-to-fine U-Net segmentation: full-resolution masks at a coarse-resolution price.

The package is the face of four folders: ``foveate.train``, ``foveate.export``,
``foveate.runtime`` and ``foveate.benchmarks``. Nothing heavy is imported here.
"""

__version__ = "0.1.0"
