"""What each file of a report was measured on: machine, versions, commit, command, data."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

from foveate.benchmarks.report import page
from foveate.benchmarks.report.model_results import ResultFile

SHA_SHOWN = 12


def provenance(file: ResultFile) -> str:
    """Return a file's machine, versions, commit, command and settings as HTML."""
    result = file.result
    items = {
        "measured": f"{result['kind']}, {result['created']}",
        "command": result["command"],
        "foveate": _producer(result["foveate"]),
        "machine": _machine(result["machine"]),
        "versions": ", ".join(f"{name} {value}" for name, value in result["versions"].items()),
        "model": _model(result["model"]),
        "data": _data(result["data"]),
        "settings": _plain(result["settings"]),
    }
    name = html.escape(file.name)
    return f'<div class="card"><b class="stem">{name}</b>{page.definitions(items)}</div>'


def _producer(made: Mapping[str, Any]) -> str:
    commit = made.get("commit")
    text = str(made["version"]) + (f", commit {str(commit)[:SHA_SHOWN]}" if commit else "")
    return text + (", with files changed since" if made.get("changed") else "")


def _machine(machine: Mapping[str, Any]) -> str:
    """Return processor, cores, memory and GPUs; what is not known is left out."""
    gpus = [_plain(gpu) for gpu in machine["gpus"]]
    named = (("memory_gb", "GB memory"), ("governor", "clock governor"))
    known = [f"{machine[key]} {name}" for key, name in named if machine.get(key)]
    flags = " ".join(map(str, machine.get("cpu_flags") or ()))
    parts = [
        machine["cpu"], f"{machine['cores']} cores", *known, flags, *(gpus or ["no GPU"]),
        " ".join(str(machine.get(key) or "") for key in ("system", "kernel", "architecture")),
    ]  # fmt: skip
    return ", ".join(part.strip() for part in parts if part.strip())


def _model(model: Mapping[str, Any]) -> str:
    parts = [f"{model['name']}, manifest sha256 {model['sha256'][:SHA_SHOWN]}"]
    parts += [f"{name} {str(sha)[:SHA_SHOWN]}" for name, sha in model["graphs"].items()]
    for key in ("stage1", "stage2"):
        if model[key] is not None:
            parts.append(f"{key} {_size(model[key])}")
    for key in ("network", "classes", "input_type"):
        if model.get(key):
            parts.append(f"{key} {_plain(model[key])}")
    return "; ".join(parts)


def _data(data: Mapping[str, Any]) -> str:
    sizes = [_size(size) for size in data["sizes"]]
    truth = "with truth" if data.get("truth") else "without truth"
    text = f"{data['name']}, {data['images']} images ({', '.join(sizes)}), {truth}"
    fingerprint = data.get("fingerprint")
    return text + (f", fingerprint {_short(str(fingerprint))}" if fingerprint else "")


def _short(fingerprint: str) -> str:
    """Return the start of a sha256; that of drawn images is words, and is kept."""
    return fingerprint[:SHA_SHOWN] if len(fingerprint) == 64 else fingerprint


def _size(size: Sequence[int]) -> str:
    """Return width x height of [height, width]."""
    return "x".join(map(str, reversed(size)))


def _plain(value: Any) -> str:
    """Return JSON values as words: 'width 8, depth 3'."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(item)}" for name, item in value.items())
    if isinstance(value, list):
        return " ".join(map(_plain, value)) or "none"
    return value if isinstance(value, str) else json.dumps(value)
