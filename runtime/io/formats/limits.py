"""Limits of image files, checked before any decoder sees them, and their error texts.

A decoder does what a file tells it to: a few hundred kilobytes can keep it busy for hours. The
limits are far above what encoders write; docs/errors.md lists them in one table.
"""

CUT = "is cut short: its end is missing. Copy it again"
DAMAGED = "is damaged: its header is sound, its pixels cannot be decoded"

MAX_BYTES = (1 << 31) - 1
"""Largest file read at once; OpenCV counts bytes with 31 bits."""
MAX_SIDE = 32_768
MAX_PIXELS = 1 << 29
"""Largest image read: 536 million pixels, so that a bomb is refused before it is decoded."""
MAX_FRAMES = 10_000
"""Frames of a DICOM file, slices of a NIfTI volume."""
MAX_PARTS = 10_000
"""Chunks of a PNG, one more per KB of the file; segments of a JPEG outside its scans."""
MAX_PROFILES = 8
"""Colour profiles of a PNG, which may have one; Pillow inflates a megabyte of each."""
MAX_FILL = 1 << 16
"""Bytes between the segments of a JPEG; Pillow reads them one at a time."""
MAX_SCAN_FILL = 256
"""Fill bytes that follow each other in a scan; libjpeg begins with them again for every 64 KB."""
MAX_SCANS, SCANS_OF_ANY = 100, 16
SCAN_PIXELS = MAX_SCANS << 24
"""Scans of a JPEG: libtiff's own limit; fewer over 16 megapixels. Encoders write up to 12."""
MAX_INFLATION = 1032
"""Deflate cannot make one byte into more."""
MAX_TAGS = 1_000
"""Tags of a TIFF page, with values of twice the size of the file together."""
MAX_PIECES, SPARE_PIECES = 200_000, 1_024
"""Strips or tiles of a TIFF page, and how many more than it needs; Pillow takes 8 us for each."""
LARGEST_SMALL_TILE = 2_048
"""Side of a TIFF tile that may be larger than its image."""
