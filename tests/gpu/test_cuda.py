"""What only a GPU can show of the CUDA device and the ring: ``pytest -m gpu tests/gpu``."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from foveate.runtime.engines.cuda.pycuda_device import CudaDevice, CudaGraph
from foveate.runtime.errors import DeviceMemoryError
from tests.gpu.rehearsals import DISCOVERY, REHEARSALS, ring_on, round_trip

pytest.importorskip("pycuda")
pytestmark = pytest.mark.gpu
ROOT = Path(__file__).parents[2]
AT_EXIT = ["left_open_at_exit", "bound_session", "exit_inside_the_guard"]
INTERRUPTED = "interrupted_after_the_push"
HERE = sorted(set(REHEARSALS) - {*AT_EXIT, INTERRUPTED})
MIB = 1 << 20


@pytest.fixture
def device() -> Iterator[CudaDevice]:
    made = CudaDevice()
    with made.current():
        yield made


def test_a_gpu_is_there(device: CudaDevice) -> None:
    memory = device.memory()
    print(device.name, device.sm, f"{memory.free_bytes >> 20} of {memory.total_bytes >> 20} MiB")
    assert 0 < memory.free_bytes <= memory.total_bytes


@pytest.mark.parametrize("name", HERE)
def test_rehearsal(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """On a thread of its own, where no context is current: not a word on standard error."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(REHEARSALS[name]).result()
    assert said(capfd.readouterr().err) == []


@pytest.mark.parametrize("names", [AT_EXIT, [INTERRUPTED]], ids=lambda names: names[0])
def test_what_is_open_when_the_process_ends(names: list[str]) -> None:
    """Exit code 0, and not a word on standard error."""
    module = "tests.gpu.rehearsals"
    code = f"from {module} import REHEARSALS as r; [r[n]() for n in {names}]"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, said(done.stderr)) == (0, [])


def said(errors: str) -> list[str]:
    return [line for line in errors.splitlines() if line and DISCOVERY not in line]


def test_pinned_copies_return_before_they_are_done(device: CudaDevice) -> None:
    """A copy that took its time on the device was only begun when the call returned."""
    nbytes = 512 * MIB
    host, memory, stream = device.host_buffer(nbytes), device.device_buffer(nbytes), device.stream()
    before, after = device.event(False), device.event(False)
    before.record(stream)
    stream.to_device(memory.address, host.array)
    after.record(stream)
    assert not after._held.query(), "the copy was over when the call returned"
    after.wait()
    print(f"{nbytes / 1e6 / after.elapsed_ms(before):.1f} GB/s to the GPU")


def test_copies_of_two_streams_overlap(device: CudaDevice) -> None:
    """By the order of events: each stream's copy begins before the other's ends."""
    nbytes = 512 * MIB
    streams = [device.stream() for _ in range(2)]
    hosts = [device.host_buffer(nbytes) for _ in range(2)]
    memory = [device.device_buffer(nbytes) for _ in range(2)]
    events = [[device.event(False) for _ in range(2)] for _ in range(2)]
    for n in range(2):
        events[n][0].record(streams[n])
        if n == 0:
            streams[n].to_device(memory[n].address, hosts[n].array)
        else:
            streams[n].to_host(hosts[n].array, memory[n].address)
        events[n][1].record(streams[n])
    for mark in (events[0][1], events[1][1]):
        mark.wait()
    assert events[0][1].elapsed_ms(events[1][0]) > 0
    assert events[1][1].elapsed_ms(events[0][0]) > 0


def test_no_room_says_what_was_asked_and_what_is_free(device: CudaDevice) -> None:
    nbytes = device.memory().total_bytes + 1
    with pytest.raises(
        DeviceMemoryError, match=f"no memory for {nbytes} bytes of GPU memory.*free"
    ):
        device.device_buffer(nbytes)
    round_trip(device)


def test_a_captured_copy_is_replayed(device: CudaDevice) -> None:
    pytest.importorskip("cuda.bindings.driver")
    stream = device.stream()
    source, target = device.device_buffer(4), device.device_buffer(4)
    host, back = device.host_buffer(4), device.host_buffer(4)

    def work() -> None:
        device.driver.memcpy_dtod_async(target.address, source.address, 4, stream._held)

    graph = device.capture(stream, work)
    assert isinstance(graph, CudaGraph)
    for value in (3, 4):
        host.array[:] = value
        stream.to_device(source.address, host.array)
        graph.launch(stream)
        stream.to_host(back.array, target.address)
        stream.wait()
        np.testing.assert_array_equal(back.array, host.array)
    graph.close()


def test_memory_is_given_back(device: CudaDevice) -> None:
    ring_on(device)
    free = device.memory().free_bytes
    for _ in range(50):
        ring_on(device)
    assert device.memory().free_bytes >= free - 4 * MIB
