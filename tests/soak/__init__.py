"""Endurance tests of ``foveate segment`` and ``serve``: small, or full where FOVEATE_SOAK=full."""

import os

FULL = os.environ.get("FOVEATE_SOAK") == "full"
