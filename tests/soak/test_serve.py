"""``foveate serve`` at twice its capacity, with hostile clients of every kind beside, by turns.

Whoever asks for a mask must get the right one or be told 429. Memory is flat from one calm round to
the next.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil
import pytest

from foveate.benchmarks.scripts.serve_load import (
    ENGINE,
    Asked,
    Client,
    broken,
    capacity,
    offered,
    samples_of,
    summary,
)
from tests.soak import FULL
from tests.soak.hostile import ATTACKS, assail
from tests.soak.record import record

BUNDLE = Path(__file__).parents[2] / "benchmarks" / "demo_bundle"
SIDE = 512 if FULL else 128
ROUNDS, ROUND_S, CAPACITY_S = (5, 51.0, 20.0) if FULL else (1, 0.5, 1.0)
LOAD = 2.0
CALM = "none"
SETTLED, GROWTH = (1, 0.02) if FULL else (0, 3.0)
"""The calm round from which memory may grow by that share; a small run has hardly settled."""
STOPPED = "Stopped; the requests in flight were answered.\n"


@pytest.mark.soak
def test_masks_are_right_or_refused_under_attack(tmp_path: Path) -> None:
    samples = samples_of(BUNDLE, SIDE)
    command = [sys.executable, "-m", "foveate", "serve", str(BUNDLE), "--port", "0"]
    command += ["--engine", ENGINE[0], "--precision", ENGINE[1]]
    said = tmp_path / "errors"
    with said.open("w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    with process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[0]
            client = Client(url, samples)
            rate, _ = capacity(client, 4, CAPACITY_S)
            parts = _attacked(client, url, rate, psutil.Process(process.pid))
        finally:
            process.terminate()
    found = {"capacity_per_second": rate, "load": LOAD, "round_seconds": ROUND_S, "parts": parts}
    record("serve", found)
    assert (process.returncode, said.read_text()) == (0, STOPPED)
    assert [line for part in parts.values() for line in part["broken"]] == []
    memory = parts[CALM]["resident_bytes"][SETTLED:]
    assert max(memory) <= (1 + GROWTH) * memory[0]
    for name, attack in ATTACKS.items():
        assert parts[name]["outcomes"].keys() <= attack.allowed, name


def _attacked(
    client: Client, url: str, rate: float, server: psutil.Process
) -> dict[str, dict[str, Any]]:
    """Return what honest and hostile clients met, by attack, and what the server then held."""
    turns = ROUNDS * [CALM, *ATTACKS] + [CALM]
    asked: dict[str, list[Asked]] = {name: [] for name in turns}
    outcomes: dict[str, Counter[str]] = {name: Counter() for name in turns}
    held: dict[str, list[tuple[int, int]]] = {name: [] for name in turns}
    with ThreadPoolExecutor(1) as pool:
        for name in turns:
            attack = ATTACKS.get(name)
            work = pool.submit(asyncio.run, assail(attack, url, ROUND_S)) if attack else None
            asked[name] += offered(client, LOAD * rate, ROUND_S)
            outcomes[name] += work.result() if work else Counter()
            with urlopen(f"{url}/health/ready") as reply:
                assert reply.status == 200
            held[name].append((server.memory_info().rss, server.num_threads()))
    return {name: _part(name, asked[name], outcomes[name], held[name]) for name in asked}


def _part(
    name: str, asked: list[Asked], outcomes: Counter[str], held: list[tuple[int, int]]
) -> dict[str, Any]:
    found = summary(asked)
    return {
        **{name: found[name] for name in ("requests", "statuses", "lost", "wrong_masks")},
        "median_ms": found["response"].get("median_ms"),
        "p99_ms": found["response"].get("p99_ms"),
        "outcomes": dict(outcomes),
        "resident_bytes": [resident for resident, _ in held],
        "threads": [threads for _, threads in held],
        "broken": broken(name, found),
    }
