"""What the header of an image file says."""

from __future__ import annotations

from dataclasses import dataclass

from foveate.runtime.io.formats.npy import NpyArray
from foveate.runtime.io.formats.pixel_size import PixelSize
from foveate.runtime.io.formats.tiff.grey import GreyPage
from foveate.runtime.io.formats.tiff.samples import SampledPage
from foveate.runtime.io.formats.volumes import Volume

GREY_MODES = ("1", "L", "I;16", "I;16B", "I;16L", "LA")
COLOUR_MODES = ("RGB", "RGBA", "RGBX", "P", "PA", "YCbCr", "CMYK")
MULTI = "multichannel"
"""The mode of images that are neither grey nor colours."""
SAMPLES_ALONE = "TIFF of samples"
"""The format of a TIFF that only ``SampledPage`` reads."""


@dataclass(frozen=True)
class Header:
    """What a file says of itself: upright size in pixels, mode, format.

    ``sample_bits`` is the depth of a TIFF's samples, 16 for a PNG of 16 bits, else 0; ``grey`` is
    how a grey TIFF of other than 1 to 8 bits is decoded, ``orientation`` how pixels are turned
    after decoding. ``volume`` is the header of DICOM or NIfTI. ``pixel_size`` is that of the
    upright image, None where the file states none. ``samples`` is how several samples of a TIFF are
    read, ``array`` the header of an NPY; ``stacked`` channels have a page each, 0 otherwise.
    """

    height: int
    width: int
    mode: str
    format: str
    sample_bits: int = 0
    grey: GreyPage | None = None
    orientation: int = 1
    volume: Volume | None = None
    pixel_size: PixelSize | None = None
    samples: SampledPage | None = None
    array: NpyArray | None = None
    stacked: int = 0

    @property
    def channels(self) -> int:
        """Return the channels of an image; transparency counts in a TIFF alone."""
        several = self.samples or self.array
        if several or self.stacked:
            return several.count if several else self.stacked
        return 3 if self.colour else 1

    @property
    def colour(self) -> bool:
        """Say whether it has colours; what is neither is MULTI."""
        return self.mode in COLOUR_MODES

    @property
    def colour_16(self) -> bool:
        """Say whether it has colours of 16 bits, of which Pillow would keep 8."""
        return self.sample_bits > 8 and not self.mode.startswith("I;16")

    @property
    def numbers(self) -> bool:
        """Say whether it has values that only a window makes into pixels."""
        if self.volume:
            return self.volume.numbers
        if self.array:
            return self.array.numbers
        return self.grey is not None and self.grey.numbers is not None
