"""The int8 graph of a cascade, its record, and why it is refused where its masks are others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx

from foveate.export.image_sets import Images
from foveate.export.int8.mixed_precision import Progress, Quantised, Search
from foveate.export.onnx_graph.cascade import cascade_model
from foveate.runtime.errors import BundleError
from foveate.train.cascade import TorchCascade

BLAMED = 5
"""Blocks of layers that a refusal names."""


@dataclass(frozen=True)
class Int8Graph:
    """A quantised graph, and where its ranges come from."""

    search: Search
    found: Quantised
    calibration: Images

    @property
    def model(self) -> onnx.ModelProto:
        return self.found.model

    def record(self) -> dict[str, Any]:
        """Return what parity.json says of the graph beside its masks."""
        return {
            "calibration": {
                "images": len(self.calibration.cases),
                "source": self.calibration.source,
                "sha256": self.calibration.sha256,
                "ranges": "least and largest value",
            },
            "calibration_disagreement": self.found.change.value,
            "float_blocks": {name: self.found.effects[name] for name in self.found.in_float},
        }

    def refusal(self, row: dict[str, Any]) -> BundleError:
        """Return the error for a row of parity that does not hold, with the blocks to blame."""
        effects = self.found.effects or self.search.effects()
        left = [name for name in effects if name not in self.found.in_float][:BLAMED]
        worst = ", ".join(f"{name} {effects[name]:.4f}" for name in left)
        change = row["dice_change"] or 0.0
        return BundleError(
            f"the int8 graph does not give PyTorch's masks: disagreement "
            f"{row['disagreement']:.4f}, wanted at most {row['disagreement_bound']}; Dice change "
            f"{change:+.4f}, wanted at most {row['dice_change_bound']} either way (worst image "
            f"{row['worst_image']}). {len(self.found.in_float)} blocks are in float32; of the "
            f"others these change masks most, each alone in 8 bits: {worst}. Nothing was written; "
            "export without int8, or with --data of more images"
        )


def int8_graph(folded: TorchCascade, calibration: Images, progress: Progress) -> Int8Graph:
    """Return the graph of a cascade whose BatchNorm is folded, its networks in 8 bits."""
    model = cascade_model(folded.spec, folded.stage1, folded.stage2, "int8")
    search = Search(model, calibration.cases, folded.spec.input_type, progress)
    return Int8Graph(search, search.run(), calibration)
