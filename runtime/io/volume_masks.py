"""Put the masks of slices and frames together at the end of a run: NIfTI volumes, DICOM SEG.

The mask of each is a PNG by then. A volume of which a mask is missing gets none.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

import foveate
from foveate.runtime.atomic_files import write_atomically
from foveate.runtime.errors import ImageError, OutputError
from foveate.runtime.io.formats.headers import is_image_name
from foveate.runtime.io.formats.nifti import Nifti
from foveate.runtime.io.formats.volumes import DICOM_SUFFIXES, NIFTI_SUFFIXES, volume_of
from foveate.runtime.io.png import Plane
from foveate.runtime.spec import CascadeSpec

NIFTI, SEG = ".nii.gz", ".seg.dcm"
Line = Mapping[str, Any]
_SAME = ["SeriesInstanceUID", "Rows", "Columns", "ImageOrientationPatient", "FrameOfReferenceUID"]

logging.getLogger("highdicom").addHandler(logging.NullHandler())  # else Python prints its warnings
warnings.filterwarnings("ignore", module=r"highdicom\.")


def is_nifti_name(name: str) -> bool:
    """Say whether a file is called as NIfTI is."""
    return name.lower().endswith(NIFTI_SUFFIXES)


def assemble_nifti(out: Path, lines: Iterable[Line]) -> None:
    """Write ``NAME.nii.gz`` for each NIfTI input: its shape and affine, uint8 class indices.

    ``lines`` are those of the journal. ImageError names an input that is no longer there.
    """
    inputs: dict[str, list[Line]] = {}
    for line in lines:
        if is_nifti_name(str(line["input"])):
            inputs.setdefault(line["input"], []).append(line)
    for path, found in inputs.items():
        try:
            with io.FileIO(path) as file:
                volume = volume_of(file)
        except (OSError, ImageError) as error:
            raise ImageError(f"{path} has changed since its masks were written: {error}") from error
        target = out / (_name(found[0]) + NIFTI)
        if len(found) == volume.frames and isinstance(volume, Nifti):
            masks = ((int(line["page"]), _mask(out, line)) for line in found)
            write_atomically(target, volume.mask(masks))
        else:
            target.unlink(missing_ok=True)


def assemble_seg(out: Path, lines: Iterable[Line], spec: CascadeSpec) -> None:
    """Write a DICOM SEG for each series, ``NAME.seg.dcm`` after its first file.

    It refers to its images and, being DICOM of the same study, names the patient as they do.
    OutputError where highdicom refuses a series, once the others are written.
    """
    series: dict[tuple[str, ...], list[Line]] = {}
    for line in sorted(lines, key=lambda line: (str(line["input"]), line["page"])):
        name = str(line["input"]).lower()
        if name.endswith(DICOM_SUFFIXES) or not is_image_name(Path(name).name):
            series.setdefault(_series(line), []).append(line)
    refused = []
    for found in series.values():
        target = out / (_name(found[0]) + SEG)
        target.unlink(missing_ok=True)
        masks = np.stack([_mask(out, line) for line in found])
        try:
            content = _seg([line["input"] for line in found], masks, spec)
        except Exception as error:  # of highdicom and pydicom; their texts quote the file
            refused.append(f"{found[0]['input']} ({type(error).__name__})")
        else:
            write_atomically(target, content)
    if refused:
        raise OutputError(
            f"no SEG could be made of {len(refused)} series, the first with {refused[0]}; the PNG "
            "masks are written. Expected whole series in one geometry, and for files of several "
            "frames a frame of reference"
        )


def _series(line: Line) -> tuple[str, ...]:
    """Return what the images of one SEG share; a file of frames, or of no place, has its own."""
    from pydicom import dcmread

    try:
        data = dcmread(line["input"], stop_before_pixels=True, specific_tags=_SAME)
    except Exception:  # pydicom raises many types; ``_seg`` will meet it again
        return (line["input"],)
    own = line["input"] if line["page"] or "FrameOfReferenceUID" not in data else ""
    return (own, *(str(data.get(name)) for name in _SAME))


def _seg(paths: list[str], masks: npt.NDArray[np.uint8], spec: CascadeSpec) -> bytes:
    """Return the SEG of the (frames, H, W) masks of some images, or of one of several frames."""
    import highdicom as hd
    from pydicom import dcmread
    from pydicom.sr.codedict import codes

    method = hd.AlgorithmIdentificationSequence(
        "foveate", codes.cid7162.ArtificialIntelligence, foveate.__version__
    )
    segments = [
        hd.seg.SegmentDescription(
            segment_number=label,
            segment_label=name,
            segmented_property_category=codes.SCT.Tissue,
            segmented_property_type=codes.SCT.Tissue,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=method,
        )
        for label, name in enumerate(spec.classes)
        if label
    ]
    images = [dcmread(path, stop_before_pixels=True) for path in dict.fromkeys(paths)]
    result = hd.seg.Segmentation(
        source_images=images,
        pixel_array=masks,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=segments,
        series_instance_uid=hd.UID(),
        series_number=1,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="foveate",
        manufacturer_model_name="foveate",
        software_versions=foveate.__version__,
        device_serial_number="0",
    )
    content = io.BytesIO()
    result.save_as(content)
    return content.getvalue()


def _name(line: Line) -> str:
    """Return the name of an image's mask without the suffixes of page and format."""
    name = str(line["mask"]).removesuffix(".png")
    return name.removesuffix(f".p{line['page']}") if line["page"] else name


def _mask(out: Path, line: Line) -> Plane:
    with Image.open(out / line["mask"]) as image:
        return np.asarray(image).astype(np.uint8)
