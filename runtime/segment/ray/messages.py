"""Messages between the driver and the actors of ``--ray``, as JSON text.

Not exceptions: Ray would wrap them in long traces and take some for the death of an actor. ASCII,
because file names may hold bytes that are not UTF-8.
"""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from foveate.runtime import errors
from foveate.runtime.errors import FoveateError
from foveate.runtime.io.inputs import Item
from foveate.runtime.segment.item_worker import Failure, Written

KINDS = {"Written": Written, "Failure": Failure}


@dataclass(frozen=True)
class TaskResult:
    """The outcome of a task: of the items done, and an error that ends the run.

    ``idle`` names an actor that was told to stop and has nothing in flight.
    """

    done: list[Written | Failure]
    error: Exception | None = None
    idle: str = ""


def task_text(items: Iterable[Item]) -> str:
    return json.dumps([[os.fspath(item.path), item.name, item.page] for item in items])


def items_of(text: str) -> list[Item]:
    return [Item(Path(path), name, page) for path, name, page in json.loads(text)]


def result_text(result: TaskResult) -> str:
    done = [{"kind": type(one).__name__, **asdict(one)} for one in result.done]
    error = None if result.error is None else _error_values(result.error)
    return json.dumps({"done": done, "error": error, "idle": result.idle})


def result_of(text: str) -> TaskResult:
    values = json.loads(text)
    done = [KINDS[one.pop("kind")](**one) for one in values["done"]]
    error = None if values["error"] is None else _error(**values["error"])
    return TaskResult(done, error, values["idle"])


def _error_values(error: Exception) -> dict[str, object]:
    if isinstance(error, FoveateError):
        return {"kind": type(error).__name__, "values": [str(error)]}
    if isinstance(error, OSError) and error.errno is not None:
        filename = None if error.filename is None else os.fsdecode(error.filename)
        return {"kind": "OSError", "values": [error.errno, error.strerror, filename]}
    return {"kind": "", "values": ["".join(traceback.format_exception(error))]}


def _error(kind: str, values: list[object]) -> Exception:
    """Return an error of ours or of the system as it was; any other as its traceback."""
    if kind == "OSError":
        return OSError(*values)
    made: Exception = getattr(errors, kind)(*values) if kind else RuntimeError(*values)
    return made
