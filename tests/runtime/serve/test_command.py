"""The command ``foveate serve``: what it says, and that every end comes."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.runtime.serve.served import LONGEST_S, PNG


@contextmanager
def command(
    bundle: Path, *more: str, program: Sequence[str] = ("-m", "foveate")
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the command on a free port; give its process and the line that it has printed."""
    words = [sys.executable, *program, "serve", str(bundle), "--port", "0"]
    words += ["--engine", "onnxruntime", *more]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(words, text=True, **pipes) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline()
        finally:
            process.kill()


def test_the_command(thresholds: Path) -> None:
    with command(thresholds) as (process, said):
        url = said.split()[0]
        assert url.startswith("http://127.0.0.1:") and "only this machine can reach it" in said
        asked = urllib.request.Request(f"{url}/result", PNG)
        with urllib.request.urlopen(asked, timeout=LONGEST_S) as reply:
            assert json.load(reply)["width"] == 64
        process.send_signal(signal.SIGTERM)
        out, errors = process.communicate(timeout=LONGEST_S)
        assert process.returncode == 0 and out == "" and errors.startswith("Stopped; ")


STUCK = """
import time
from foveate.cli import main
from foveate.runtime.serve import request_queue, run
request_queue.image_in_memory = lambda *given: time.sleep(600)
run.GRACE_S = 0.5
main()
"""


def test_sigterm_ends_it_though_a_decoder_does_not(thresholds: Path) -> None:
    with command(thresholds, "--timeout", "0.5", program=("-c", STUCK)) as (process, said):
        asked = urllib.request.Request(f"{said.split()[0]}/mask", PNG)
        with pytest.raises(urllib.error.HTTPError, match="503"):
            urllib.request.urlopen(asked, timeout=LONGEST_S)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=LONGEST_S)
    assert process.returncode == 1
    assert errors == "Stopped; work still running after 0.5 s was abandoned.\n"


def test_a_second_ctrl_c_ends_it_at_once(thresholds: Path) -> None:
    """While an upload hangs; what is said is not about files, and nothing is a traceback."""
    with command(thresholds) as (process, said):
        address = urlsplit(said.split()[0])
        assert address.hostname and address.port
        with socket.create_connection((address.hostname, address.port)) as connection:
            connection.sendall(
                b"POST /mask HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"
            )
            process.send_signal(signal.SIGINT)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.3)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=LONGEST_S)
    assert process.returncode == 130
    assert errors == "Stopped at once; the requests in flight were not answered.\n"
