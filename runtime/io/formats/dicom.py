"""Read the frames of a grey DICOM image: rescaled, windowed, MONOCHROME1 turned over.

Of the header only what pixels depend on is read, and no text of a file but these values is ever
repeated: neither errors nor results can name a patient.
"""

from __future__ import annotations

import re
import struct
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from math import isfinite
from typing import Any, BinaryIO

import numpy as np

from foveate.runtime.arrays import Array, Pixels
from foveate.runtime.errors import ImageError
from foveate.runtime.io.formats.limits import CUT, DAMAGED, MAX_FRAMES
from foveate.runtime.io.formats.pixel_size import PixelSize, plausible
from foveate.runtime.io.window import Window, through

_PIXEL_TAGS = ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated",
               "BitsStored", "PixelRepresentation")  # fmt: skip
_TAGS = (*_PIXEL_TAGS, "SOPClassUID", "HighBit", "NumberOfFrames", "RescaleSlope",
         "RescaleIntercept", "ModalityLUTSequence", "WindowCenter", "WindowWidth",
         "VOILUTFunction", "DoseGridScaling", "PixelSpacing", "SharedFunctionalGroupsSequence",
         "PerFrameFunctionalGroupsSequence")  # fmt: skip
_HEADER = "is damaged: its DICOM header makes no sense"
_GREY = ("MONOCHROME1", "MONOCHROME2")
_META_AT, _META_GROUP, _PIXELS = 132, 0x0002, 0x7FE00010
_SIZE_OF_J2K, _START_OF_JPEG = b"\xff\x4f\xff\x51", b"\xff\xd8"
_END, _PADDING = b"\xff\xd9", b"\0\xff"
_PIXEL_DATA = (b"\xe0\x7f\x10\0", b"\x7f\xe0\0\x10")
"""The tag of the pixels in either byte order."""
_JPEG_MARKER = re.compile(rb"\xff+([\xc0-\xfe])", re.DOTALL)
_JPEG_SIZES = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})

warnings.filterwarnings("ignore", module=r"pydicom\.")  # they quote values


def read_dicom(file: BinaryIO) -> Dicom:
    """Return the header of an open DICOM file; ImageError for what is not a grey image."""
    if find_spec("pydicom") is None:
        raise ImageError("is DICOM; reading it needs pydicom: pip install 'foveate[dicom]'")
    try:
        return _read(file)
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # pydicom raises many types on damaged files
        raise ImageError(_HEADER) from error


def _read(file: BinaryIO) -> Dicom:
    from pydicom.datadict import tag_for_keyword
    from pydicom.filereader import read_dataset
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, JPEGExtended12Bit, RLELossless

    file.seek(_META_AT)
    meta = read_dataset(file, False, True, stop_when=lambda tag, *_: tag.group != _META_GROUP)
    syntax = UID(meta.TransferSyntaxUID)
    if syntax == DeflatedExplicitVRLittleEndian:
        raise ImageError("is deflated as a whole; expected DICOM whose pixels alone are compressed")
    data = read_dataset(
        file,
        syntax.is_implicit_VR,
        syntax.is_little_endian,
        stop_when=lambda tag, *_: tag >= _PIXELS,
        specific_tags=[tag_for_keyword(name) for name in _TAGS],
    )
    kind = UID(data.get("SOPClassUID") or meta.get("MediaStorageSOPClassUID") or "")
    if "Rows" not in data or "Columns" not in data:
        raise ImageError(f"is not an image but DICOM of another kind: {kind.name or 'unknown':.60}")
    missing = [name for name in _PIXEL_TAGS if data.get(name) is None]
    if missing:
        raise ImageError(f"lacks {missing[0]}; expected a whole DICOM image. Export it again")
    colours, samples = str(data.PhotometricInterpretation), int(data.SamplesPerPixel)
    if colours not in _GREY or samples != 1:
        raise ImageError(
            f'has pixels of {samples} samples, "{colours:.20}"; expected grey, MONOCHROME1 or '
            "MONOCHROME2. Convert it first"
        )
    allocated, stored = int(data.BitsAllocated), int(data.BitsStored)
    top = int(data.get("HighBit", stored - 1))
    if allocated not in (8, 16, 32) or not 1 <= stored <= allocated or top != stored - 1:
        raise ImageError(
            f"has {stored} bits in {allocated}, the highest {top} ({kind.name:.60}); expected the "
            "lowest bits of 8, 16 or 32"
        )
    if "ModalityLUTSequence" in data:
        raise ImageError("has a modality table; expected rescale slope and intercept")
    frames = int(data.get("NumberOfFrames") or 1)
    if not 1 <= frames <= MAX_FRAMES:
        raise ImageError(f"has {frames} frames; the limit is {MAX_FRAMES}. Split it")
    try:
        decoder = get_decoder(syntax) if syntax.is_encapsulated else None
    except NotImplementedError:
        decoder = None
    if syntax.is_encapsulated and not (decoder and decoder.is_available):
        raise ImageError(f"is compressed as {syntax.name:.60}, which is not read. Convert it first")
    pixels = file.tell()
    if file.read(4) not in _PIXEL_DATA:
        raise ImageError(f"has no pixels ({kind.name:.60}); expected an image. Export it again")
    place = pixels + 12 if syntax.is_encapsulated and syntax != RLELossless else 0
    deep_jpeg = syntax == JPEGExtended12Bit and stored > 8
    size, signed = (int(data.Rows), int(data.Columns)), bool(int(data.PixelRepresentation))
    return Dicom(data, size, frames, stored, signed, place, deep_jpeg)


@dataclass(frozen=True)
class Dicom:
    """A header. ``stored`` bits a pixel; ``place`` is where frames that state their size begin."""

    data: Any
    size: tuple[int, int]
    frames: int
    stored: int
    signed: bool
    place: int
    deep_jpeg: bool

    format = "DICOM"

    @property
    def numbers(self) -> bool:
        """Say whether pixels may need a window; frames differ."""
        return True

    def bits(self, page: int) -> int:
        return 8 if self._plain(page) and self.stored <= 8 else 16

    def pixel_size(self, page: int) -> PixelSize | None:
        """Return the size of a frame's pixels; None where it has none that makes sense."""
        try:
            down, across = self._value(page, "PixelMeasuresSequence", "PixelSpacing")
            return plausible(float(across), float(down))
        except (ImageError, TypeError, ValueError):
            return None

    def pixels(self, file: BinaryIO, page: int, window: Window | None) -> Pixels:
        """Return frame ``page`` (from 1, 0 for the only one) as ``read_image`` does."""
        slope, intercept = self._rescale(page)
        window, values = window or self._window(page), self._decoded(file, page)
        depth, plain = self.bits(page), self._plain(page)
        pixels: Pixels
        if not plain or window and depth == 16:
            pixels = through(window, values, slope, intercept)
        elif window:
            pixels = window.apply(values, 255)
        else:
            plane = values.astype(np.uint8 if depth == 8 else np.uint16)
            pixels = np.left_shift(plane, depth - self.stored, dtype=plane.dtype)
        if self.data.PhotometricInterpretation != "MONOCHROME1":
            return pixels
        white = (1 << depth) - 1
        if plain and not window:
            white &= -1 << (depth - self.stored)
        return np.subtract(white, pixels, dtype=pixels.dtype)

    def _plain(self, page: int) -> bool:
        """Say whether values are pixels without a window: unsigned, not rescaled."""
        return not self.signed and self.stored <= 16 and self._rescale(page) == (1.0, 0.0)

    def _rescale(self, page: int) -> tuple[float, float]:
        group = "PixelValueTransformationSequence"
        dose = self._number(page, group, "DoseGridScaling", 1.0)
        slope = self._number(page, group, "RescaleSlope", dose)
        return slope, self._number(page, group, "RescaleIntercept", 0.0)

    def _window(self, page: int) -> Window | None:
        """Return the first window of the file; None where it has none that is linear."""
        group = "FrameVOILUTSequence"
        centre = self._number(page, group, "WindowCenter", 0.0)
        width = self._number(page, group, "WindowWidth", 0.0)
        curve = self._value(page, group, "VOILUTFunction") or "LINEAR"
        if curve == "LINEAR":
            centre, width = centre - 0.5, width - 1
        if curve == "SIGMOID" or not (isfinite(centre) and 1e-9 < width < 1e30):
            return None
        return Window(centre - width / 2, centre + width / 2)

    def _number(self, page: int, group: str, name: str, default: float) -> float:
        value = self._value(page, group, name)
        try:
            if isinstance(value, float | int):
                return float(value)
            return float(value[0]) if value else default
        except (TypeError, ValueError, LookupError) as error:
            raise ImageError(_HEADER) from error

    def _value(self, page: int, group: str, name: str) -> Any:
        """Return a value of a frame, of all frames, or of the file."""
        try:
            for sequence, index in (
                ("PerFrameFunctionalGroupsSequence", max(page, 1) - 1),
                ("SharedFunctionalGroupsSequence", 0),
            ):
                items = self.data.get(sequence) or ()
                inner = items[index].get(group) if index < len(items) else None
                if inner and name in inner[0]:
                    return inner[0].get(name)
            return self.data.get(name)
        except Exception as error:  # values are parsed when they are asked for
            raise ImageError(_HEADER) from error

    def _decoded(self, file: BinaryIO, page: int) -> Array:
        """Return the values of a frame as they are stored."""
        from pydicom.pixels import pixel_array

        index = max(page, 1) - 1
        try:
            if self.place:
                self._check_coded_size(file, index)
            values: Array = pixel_array(file, index=index)
        except (ImageError, MemoryError):
            raise
        except Exception as error:  # of pydicom and of what decodes for it
            if self.deep_jpeg:
                raise ImageError(
                    "is compressed as JPEG of 12 bits; reading it needs pylibjpeg-libjpeg too"
                ) from error
            raise ImageError(DAMAGED) from error
        return values

    def _check_coded_size(self, file: BinaryIO, index: int) -> None:
        """Raise ImageError where a compressed frame is of another size than the header says."""
        from pydicom.encaps import get_frame

        file.seek(self.place)
        frame = get_frame(file, index, number_of_frames=self.frames)
        if not frame.rstrip(_PADDING).endswith(_END):  # decoders make half a picture of JPEG 2000
            raise ImageError(CUT)
        found = _coded_size(frame)
        if found != self.size:
            raise ImageError(
                f"has a compressed frame of {found[1]}x{found[0]} pixels; its header said "
                f"{self.size[1]}x{self.size[0]}"
            )


def _coded_size(frame: bytes) -> tuple[int, int]:
    """Return height and width of a JPEG, JPEG-LS or JPEG 2000 frame; ImageError for others."""
    if frame.startswith(_SIZE_OF_J2K):
        right, bottom, left, top = struct.unpack_from(">4I", frame, 8)
        return bottom - top, right - left
    place = 2
    while (marker := _JPEG_MARKER.match(frame, place)) and marker[1][0] not in _JPEG_SIZES:
        place = marker.end() + struct.unpack_from(">H", frame, marker.end())[0]
    if marker is None or not frame.startswith(_START_OF_JPEG):
        raise ImageError(DAMAGED)
    height, width = struct.unpack_from(">HH", frame, marker.end() + 3)
    return height, width
