"""``foveate serve`` under load on loopback: what it can do, then half of that, all, and twice.

A closed loop finds the capacity: twice as many clients as the server has workers, each sending its
next image when it has an answer. Then requests come when they come (Poisson, an open loop), at
0.5, 1 and 2 times the capacity, each on a connection of its own; times count from the moment a
request was due. Every request must be answered, with 200 or 429, and every mask must be the one
that the cascade gives in this process. Server and clients share the machine's cores.
"""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import cv2
import numpy as np

from foveate.benchmarks.measure.images import phantom_images
from foveate.benchmarks.measure.throughput import saturated_rate
from foveate.benchmarks.measure.timing import SEED, distribution
from foveate.benchmarks.schema.machine import disturbances, versions
from foveate.benchmarks.schema.result_files import provenance, write_result
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.io.png import encode_mask

ENGINE = ("onnxruntime", "fp32")
LOADS = (0.5, 1.0, 2.0)
"""Shares of the capacity that are offered."""
IMAGES, CLIENTS = 16, 512
LONGEST_S = 90.0
"""A request without an answer by then is lost."""


@dataclass(frozen=True)
class Sample:
    """An upload, and the mask that must come back."""

    upload: bytes
    mask: bytes


@dataclass(frozen=True)
class Asked:
    """What became of a request: HTTP's status, 0 without an answer; seconds since it was due."""

    status: int
    seconds: float
    right: bool = True
    retry_after: bool = False


class Client:
    """Sends the samples in turn, each on a connection of its own."""

    def __init__(self, url: str, samples: Sequence[Sample]) -> None:
        self._address, self._samples = urlsplit(url).netloc, samples

    def ask(self, number: int, due: float) -> Asked:
        """Send a sample and return its outcome."""
        sample = self._samples[number % len(self._samples)]
        connection = http.client.HTTPConnection(self._address, timeout=LONGEST_S)
        try:
            connection.request("POST", "/mask", sample.upload)
            reply = connection.getresponse()
            body, status = reply.read(), reply.status
            retry = reply.getheader("Retry-After") is not None
        except (OSError, http.client.HTTPException):
            return Asked(0, time.perf_counter() - due)
        finally:
            connection.close()
        right = status != 200 or body == sample.mask
        return Asked(status, time.perf_counter() - due, right, retry)

    def metrics(self) -> str:
        """Return what the server has counted."""
        connection = http.client.HTTPConnection(self._address, timeout=LONGEST_S)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        return text


def samples_of(bundle: Path, side: int) -> list[Sample]:
    """Return phantoms as PNG, and the masks of them."""
    found = []
    with Cascade.load(bundle, *ENGINE) as cascade:
        for case in phantom_images(IMAGES, side, 8):
            mask = encode_mask(cascade(case.image).mask, len(cascade.spec.classes))
            found.append(Sample(cv2.imencode(".png", case.image)[1].tobytes(), mask))
    return found


def capacity(client: Client, clients: int, seconds: float) -> tuple[float, list[Asked]]:
    """Return the images a second that so many clients get answered, and what they were told."""
    asked: list[Asked] = []

    def work(number: int) -> int:
        asked.append(client.ask(len(asked), time.perf_counter()))
        return int(asked[-1].status == 200)

    return saturated_rate([work] * clients, seconds), asked


def offered(client: Client, rate: float, seconds: float) -> list[Asked]:
    """Return what became of the requests of an open loop of so many a second."""
    draw = np.random.default_rng(SEED)
    due = np.cumsum(draw.exponential(1 / rate, max(1, round(rate * seconds))))
    with ThreadPoolExecutor(CLIENTS, "foveate-client") as pool:
        start = time.perf_counter()
        calls = []
        for number, moment in enumerate(due.tolist()):
            time.sleep(max(0.0, start + moment - time.perf_counter()))
            calls.append(pool.submit(client.ask, number, start + moment))
        return [call.result() for call in calls]


def summary(asked: Sequence[Asked]) -> dict[str, Any]:
    """Return counts, the share of 429, and the times of those that got a mask."""
    statuses = Counter(one.status for one in asked)
    answered = [one.seconds for one in asked if one.status == 200]
    times = asdict(distribution(answered)) if answered else {}
    times.pop("samples_ms", None)
    return {
        "requests": len(asked),
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
        "lost": statuses[0],
        "share_429": statuses[429] / len(asked),
        "wrong_masks": sum(not one.right for one in asked),
        "without_retry_after": sum(one.status == 429 and not one.retry_after for one in asked),
        "response": times,
    }


def broken(name: str, found: dict[str, Any]) -> list[str]:
    """Return what must not be in a summary."""
    other = {status for status in found["statuses"] if status not in ("200", "429")}
    wrong = {name: found[name] for name in ("lost", "wrong_masks", "without_retry_after")}
    lines = [f"{name}: {count} {what}" for what, count in wrong.items() if count]
    return lines + ([f"{name}: answered {', '.join(sorted(other))}"] if other else [])


def measured(client: Client, workers: int, queue: int, seconds: float) -> dict[str, Any]:
    """Return the capacity and the outcome of every load, as JSON values."""
    clients = workers + min(queue, workers)
    rate, asked = capacity(client, clients, seconds)
    parts = {"closed": {"clients": clients, "images_per_second": rate, **summary(asked)}}
    for load in LOADS:
        full = 2 * (queue + workers) / rate if load > 1 else 0.0  # twice what fills the queue
        lasts = max(seconds, full)
        click.echo(f"capacity {rate:.1f}/s; offering {load:g} times that for {lasts:.0f} s")
        found = summary(offered(client, load * rate, lasts))
        parts[f"{load:g}x"] = {"load": load, "rate": load * rate, **found}
    sent = sum(part["requests"] for part in parts.values())
    counted = re.findall(r'^foveate_requests_total{path="/mask".*} (\S+)$', client.metrics(), re.M)
    return {"parts": parts, "sent": sent, "counted": int(sum(map(float, counted)))}


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path, exists=True))
@click.option("--side", type=click.IntRange(128, 4096), default=512, show_default=True)
@click.option("--seconds", type=click.FloatRange(1), default=20.0, show_default=True)
@click.option("--queue", type=click.IntRange(1), default=64, show_default=True)
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Write the figures as JSON.")
def main(bundle: Path, side: int, seconds: float, queue: int, batch: int, out: Path | None) -> None:
    """Load a server of BUNDLE with phantoms of SIDE x SIDE, four parts of SECONDS at least."""
    samples, warnings = samples_of(bundle, side), disturbances()
    command = [sys.executable, "-m", "foveate", "serve", str(bundle), "--port", "0"]
    command += ["--engine", ENGINE[0], "--precision", ENGINE[1]]
    command += ["--queue", str(queue), "--batch", str(batch)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            workers = int(re.findall(r"workers: (\d+)", said)[0])
            client = Client(said.split()[0], samples)
            found = measured(client, workers, queue, seconds)
        finally:
            process.terminate()
        code = process.wait(LONGEST_S)
    wrong = [line for name, part in found["parts"].items() for line in broken(name, part)]
    wrong += [f"the server ended with {code}"] if code else []
    if found["sent"] != found["counted"]:
        wrong.append(f"the server counted {found['counted']} of {found['sent']} requests")
    result = {
        "schema": 1,
        "kind": "serve-load",
        "bundle": bundle.resolve().name,
        **provenance(),
        "versions": {**versions(), **{name: version(name) for name in ("starlette", "uvicorn")}},
        "settings": {
            "side": side, "seconds": seconds, "queue": queue, "batch": batch, "workers": workers,
        },
        "results": found,
        "warnings": warnings,
        "broken": wrong,
    }  # fmt: skip
    if out:
        write_result(out, result)
    _tell(found, wrong)
    sys.exit(1 if wrong else 0)


def _tell(found: dict[str, Any], wrong: Sequence[str]) -> None:
    for name, part in found["parts"].items():
        times = part["response"]
        shown = f"p50 {times['median_ms']:.0f} ms, p99 {times['p99_ms']:.0f} ms" if times else "-"
        click.echo(
            f"{name}: {part['requests']} requests, {json.dumps(part['statuses'])}, "
            f"429: {part['share_429']:.1%}, lost: {part['lost']}, {shown}"
        )
    for line in wrong:
        click.echo(f"BROKEN: {line}")


if __name__ == "__main__":
    main()
