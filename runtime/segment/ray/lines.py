"""What goes between the driver and the actors of ``--ray``, as text.

Text, and not exceptions: Ray would wrap those in pages of its own, and take some for the end of an
actor. JSON in ASCII, for names of files may hold bytes that are no UTF-8.
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
class Answer:
    """What came of a task: of some of its items, and an error that ends the run.

    ``quiet`` names an actor that was told to stop and has nothing in hand any more.
    """

    done: list[Written | Failure]
    error: Exception | None = None
    quiet: str = ""


def task_text(items: Iterable[Item]) -> str:
    return json.dumps([[os.fspath(item.path), item.name, item.page] for item in items])


def items_of(text: str) -> list[Item]:
    return [Item(Path(path), name, page) for path, name, page in json.loads(text)]


def answer_text(answer: Answer) -> str:
    done = [{"kind": type(one).__name__, **asdict(one)} for one in answer.done]
    error = None if answer.error is None else _error_values(answer.error)
    return json.dumps({"done": done, "error": error, "quiet": answer.quiet})


def answer_of(text: str) -> Answer:
    values = json.loads(text)
    done = [KINDS[one.pop("kind")](**one) for one in values["done"]]
    error = None if values["error"] is None else _error(**values["error"])
    return Answer(done, error, values["quiet"])


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
