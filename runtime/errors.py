"""Errors that a user can fix: one exception type, with a subclass for each kind.

FoveateError
├── SettingsError   a setting or option that does not exist or is out of range
├── DataError       a data set that cannot be trained on or evaluated
├── OutputError     a folder that cannot be written to any more
├── ImageError      one image that cannot be read or is outside the limits
│   ├── SizeError   an image of too many pixels
│   └── PagesError  an image of several pages, none of which was asked for
├── BundleError     a bundle or run that is missing, damaged or from another version
└── EngineError     an engine, provider or device that is missing
    ├── GraphError  a graph that an engine refuses or cannot run
    │   └── PlanError  no TensorRT plan covers a call
    └── DeviceMemoryError  a device has not enough memory; a smaller batch may fit

The command line prints the text alone and exits 2; every other exception keeps its traceback.
"""


class FoveateError(Exception):
    """An error the user can fix: what, got against expected, what to do."""


class SettingsError(FoveateError):
    """A setting or option does not exist or is out of range."""


class DataError(FoveateError):
    """A data set cannot be used as it is."""


class OutputError(FoveateError):
    """Nothing more can be written to the folder of the masks."""


class ImageError(FoveateError):
    """One image cannot be read, or is outside the limits."""


class SizeError(ImageError):
    """One image has too many pixels, or too many on a side."""


class PagesError(ImageError):
    """One image has several pages, and none of them was asked for."""


class BundleError(FoveateError):
    """A bundle or a run is missing, damaged or written by another version."""


class EngineError(FoveateError):
    """An engine, provider or device is missing."""


class GraphError(EngineError):
    """An engine refuses a graph, or cannot run it on this image."""


class PlanError(GraphError):
    """No TensorRT plan covers a call; the text ends with the line that builds one."""


class DeviceMemoryError(EngineError):
    """A device has not enough memory; a smaller batch may fit."""


class SmallerBatchWarning(UserWarning):
    """A device had no memory for a batch; a smaller one is tried."""


class UnavailableWarning(UserWarning):
    """A watched folder, or one below it, is unavailable; the run waits for it."""


def one_line(text: str) -> str:
    """Return a text as one printable line of at most 1,000 characters.

    File names and texts of a bundle may hold line breaks and terminal escape sequences.
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[:1000])
