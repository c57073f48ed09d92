"""The package openvino, imported without its model converter.

The converter comes with every import of the package, and reports that import to OpenVINO's makers
over the network unless the user has opted out (openvino-telemetry). Nothing here uses it, nothing
here may send anything, and without it the import takes half the time.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

CONVERTER = "openvino.tools.ovc"


def _imported() -> Any:
    """Return the package; where the application has imported it before, as it is.

    ``openvino.tools.ovc`` can still be imported afterwards.
    """
    if "openvino" in sys.modules or CONVERTER in sys.modules:
        return importlib.import_module("openvino")
    sys.modules[CONVERTER] = None  # type: ignore[assignment]  # the package takes it as not there
    try:
        return importlib.import_module("openvino")
    finally:
        del sys.modules[CONVERTER]


openvino: Any = _imported()
