"""Endurance tests of ``foveate segment``: small, or full where FOVEATE_SOAK=full."""

import os

FULL = os.environ.get("FOVEATE_SOAK") == "full"
