"""What ``benchmark parity`` found of masks, in the form that its records are kept in."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from foveate.runtime.agreement import Disagreement

T = TypeVar("T", bound="MaskParity")
OWN_HASH = "parity_sha256"
MASK_SHAPE = {
    "data": str,
    "images": int,
    "foreground_images": int,
    "reference": str,
    "disagreement": float,
    "held": bool,
    "created": str,
}
"""What every record must hold, for ``json_files.check_shape``; ``dice_change`` may be null."""


@dataclass(frozen=True)
class MaskParity:
    """How masks differ from the reference's on a data set.

    ``disagreement`` is pooled over ``images``, of which ``foreground_images`` have foreground in
    one of the two masks; ``dice_change`` is None without truth. ``held`` says that both were
    inside the bounds of the precision. ``created`` is set when the record is written.
    """

    data: str
    images: int
    foreground_images: int
    reference: str
    disagreement: float
    dice_change: float | None
    held: bool
    created: str = ""

    @classmethod
    def of(
        cls: type[T], total: Disagreement, precision: str, data: str, reference: str, **more: Any
    ) -> T:
        """Return the record of a total; ``more`` are the fields that a subclass adds."""
        return cls(
            data=data,
            images=len(total.pairs),
            foreground_images=sum(pair.union > 0 for pair in total.pairs),
            reference=reference,
            disagreement=total.value,
            dice_change=total.dice_change,
            held=total.held(precision),
            **more,
        )

    def __str__(self) -> str:
        kept = "inside" if self.held else "OUTSIDE"
        return (
            f"disagreement {self.disagreement:.6f}, {kept} its bounds, on {self.images} images of "
            f"{self.data} ({self._foreground}) against {self.reference}"
        )

    @property
    def _foreground(self) -> str:
        return f"{self.foreground_images} with foreground"

    def record(self) -> dict[str, Any]:
        """Return the values as they are written, now."""
        created = datetime.now(timezone.utc).isoformat(timespec="seconds")
        return {**asdict(self), "created": created}
