"""Read what a request asks for in the query of its URL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.cascade.decision import Decision
from foveate.runtime.errors import SettingsError
from foveate.runtime.serve.request_error import RequestError

OBJECTS = "objects"
EXPECTED = "page=N, a TIFF page from 1, or threshold=T, between 0 and 1"
MOST_TEXT = 1000


@dataclass(frozen=True)
class Parameters:
    """``page`` of a file, 0 for none asked; ``decision`` instead of the server's; ``objects``."""

    page: int = 0
    decision: Decision | None = None
    objects: bool = False

    @property
    def probabilities(self) -> bool:
        """Whether the probabilities are needed."""
        return self.objects or self.decision is not None


def parse_parameters(
    query: Sequence[tuple[str, str]], cascade: Cascade, objects: bool
) -> Parameters:
    """Return the parameters of a query; RequestError for others, or for one given twice.

    ``objects``: whether the path has an answer with objects.
    """
    given = dict(query)
    known = {"page", "threshold", *([OBJECTS] if objects else [])}
    page, objects_text = given.get("page", "1"), given.get(OBJECTS, "1")
    number = len(page) <= 5 and page.isascii() and page.isdigit() and int(page) > 0
    sound = number and objects_text == "1" and len(given.get("threshold", "")) <= MOST_TEXT
    if len(given) < len(query) or not given.keys() <= known or not sound:
        expected = f"{EXPECTED}, or objects=1" if objects else EXPECTED
        raise RequestError(400, "parameter", f"expected no parameter but {expected}")
    threshold, decision = given.get("threshold"), None
    if threshold is not None:
        try:
            decision = replace(cascade.decision, threshold=threshold)
            decision.check(cascade.spec)
        except SettingsError as error:
            raise RequestError(400, "parameter", str(error)) from None
    return Parameters(int(page) if "page" in given else 0, decision, OBJECTS in given)
