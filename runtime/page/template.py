"""Fill the templates of HTML pages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files


def page_part(name: str) -> str:
    """Return the text of a file of this folder; ``style.css`` is of all pages."""
    return (files("foveate.runtime.page") / name).read_text(encoding="utf-8")


def filled(template: str, values: Mapping[str, str]) -> str:
    """Return a template with ``values``, which are HTML, in place of ``{{name}}``.

    The values themselves are not searched, so text in them that looks like a place stays text.
    """
    return re.sub(r"\{\{(\w+)\}\}", lambda place: values[place[1]], template)
