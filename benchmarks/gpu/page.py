"""The page of a GPU check: what does not hold, the aims, then every table with its parity."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import foveate
from foveate.benchmarks import pages
from foveate.benchmarks.gpu import tables
from foveate.benchmarks.gpu.step_runner import PASSED, SKIPPED

TITLE = "GPU check"
_STEP_HEAD = ("step", "came to", "s", "why")
_MARKS = {True: "met", False: "missed", None: "not measured"}


def write_gpu_page(path: Path, result: Mapping[str, Any]) -> None:
    """Write one self-contained page; whatever steps are missing, it is a page."""
    steps = result["steps"]
    said = tables.refusals(steps)
    values = {
        "title": TITLE,
        "rehearsal": _box("doubts", "Rehearsal", [result["rehearsal"]] * bool(result["rehearsal"])),
        "broken": _box("doubts", "What does not hold", result["broken"]),
        "refused": _box(
            "doubts", "What TensorRT said when it refused this GPU, word by word", said
        ),
        "warnings": _box("warnings", "Know before reading", result["doubts"] + result["warnings"]),
        "aims": f'<div class="facts">{pages.fact_tiles(map(_aim, result["aims"]))}</div>',
        "tables": "".join(_section(*part) for part in tables.sections(steps)),
        "steps": pages.table(_STEP_HEAD, [_step(item) for item in steps], "words"),
        "last_lines": "".join(map(_last_lines, steps)),
        "machine": pages.table(("what", "value"), _machine(result), "words"),
        "version": html.escape(f"Page written by foveate {foveate.__version__}."),
    }
    pages.write_page(path, "gpu_check.html", values)


def _box(style: str, title: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f'<div class="box {style}"><b>{html.escape(title)}</b><ul>{items}</ul></div>'


def _aim(aim: Mapping[str, Any]) -> tuple[str, str, str]:
    value = "-" if aim["value"] is None else f"{aim['value']:.3g}"
    sign = "at most" if aim["at_most"] else "at least"
    return aim["aim"], value, f"{_MARKS[aim['met']]}: {sign} {aim['wanted']:g} wanted"


def _section(title: str, note: str, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    style = "words" if len(head) == 2 else ""
    shown = pages.table(head, rows, style) if rows else '<p class="poor">Not measured.</p>'
    text = f"<p>{html.escape(note)}</p>" if note else ""
    return f"<h2>{html.escape(title)}</h2>{text}{shown}"


def _step(step: Mapping[str, Any]) -> list[str | pages.Cell]:
    style = {PASSED: "good", SKIPPED: "fair"}.get(step["status"], "poor")
    needed = "" if step["required"] else " (not required)"
    return [
        step["name"] + needed,
        pages.Cell(step["status"], style),
        f"{step['seconds']:.1f}",
        step["reason"],
    ]


def _last_lines(step: Mapping[str, Any]) -> str:
    if not step["last_lines"]:
        return ""
    lines = html.escape("\n".join(step["last_lines"]))
    return f"<h4>{html.escape(step['name'])}</h4><pre>{lines}</pre>"


def _machine(result: Mapping[str, Any]) -> list[list[str]]:
    machine, producer = result["machine"], result["foveate"]
    rows = [[f"GPU, {name}", str(value)] for gpu in machine["gpus"] for name, value in gpu.items()]
    for step in result["steps"]:
        found = step["results"]
        if "gpu" in found:
            memory = f"{found['gpu']}, {found['sm']}, {found['memory_mib']} MiB"
            rows.append([f"GPU as pycuda names it ({step['name']})", memory])
    rows += [[name, str(machine[name])] for name in ("cpu", "cores", "memory_gb", "kernel")]
    rows += [[name, version] for name, version in result["versions"].items()]
    rows.append(["foveate", f"{producer['version']} {producer['commit']}"])
    rows += [
        [
            f"set {part['name']}",
            f"{part['images']} images, bundle {part['model']['name']}, {part['reference']}",
        ]
        for part in result["sets"]
    ]
    return rows
