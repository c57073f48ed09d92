"""The ring of slots over a fake device: order, overlap, errors and ends. No GPU is shown here."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest

from foveate.runtime.engines.tensorrt.slot import PendingRun
from foveate.runtime.engines.tensorrt.slot_ring import LATENCY, RingSettings, SlotRing
from foveate.runtime.errors import DeviceMemoryError, EngineError
from tests.runtime.engines.cuda.fake_device import FakeDevice, FakeExecutor, Faults

LIMIT_S = 20


def x(count: int, value: float = 1.0) -> dict[str, np.ndarray]:
    return {"x": np.full(count, value, np.float32)}


@contextmanager
def ring(device: FakeDevice, slots: int = 3, **options: object) -> Iterator[SlotRing]:
    """A ring that must leave nothing behind."""

    def executor() -> FakeExecutor:
        return FakeExecutor(device, **options)  # type: ignore[arg-type]

    with SlotRing(device, executor, RingSettings(slots)) as made:
        yield made
    assert device.clean


def y(ticket: PendingRun) -> list[float]:
    return ticket.result().outputs["y"].tolist()


def index(device: FakeDevice, *entry: object) -> int:
    return device.journal.index(entry)  # type: ignore[arg-type]


def seen(device: FakeDevice, *entry: object) -> None:
    """Wait until something has happened on the device."""
    deadline = time.monotonic() + LIMIT_S
    while entry not in device.journal:
        assert time.monotonic() < deadline, f"{entry} never happened"
        time.sleep(0.001)


def held(gate: threading.Event) -> None:
    assert gate.wait(LIMIT_S), "nothing happened meanwhile"


def test_results_are_right_in_order_and_only_those_asked_for() -> None:
    device = FakeDevice()
    with ring(device) as runs:
        tickets = [runs.submit(x(3, value), ["y"]) for value in range(10)]
        assert [y(ticket) for ticket in tickets] == [[2 * v + 1] * 3 for v in range(10)]
        assert set(runs.submit(x(2), ["z"]).result().outputs) == {"z"}
        assert [what for _, what, _ in device.journal].count("d2h") == 2 * 11


def test_feeds_may_change_as_soon_as_submit_returns() -> None:
    gate = threading.Event()
    with ring(FakeDevice(pause=lambda: held(gate))) as runs:
        feed = x(4, 5.0)
        ticket = runs.submit(feed, ["y"])
        feed["x"][:] = 99
        gate.set()
        assert y(ticket) == [11.0] * 4


def test_a_copy_in_happens_during_the_execution_of_the_run_before() -> None:
    """The first execution ends only after the second run's copy has ended."""
    copied = threading.Event()
    device = FakeDevice()
    with ring(device, 2, inside=lambda: held(copied)) as runs:
        first = runs.submit(x(3), ["y"])
        seen(device, 0, "execute", "begin")
        second = runs.submit(x(3), ["y"])
        seen(device, 1, "h2d", "end")
        copied.set()
        assert y(first) == y(second) == [3, 3, 3]
    assert index(device, 1, "h2d", "end") < index(device, 0, "execute", "end")


def test_a_copy_out_happens_during_the_execution_of_the_next_run() -> None:
    """The second execution ends only after the first result was fetched."""
    device, fetched, calls = FakeDevice(), threading.Event(), []

    def inside() -> None:
        calls.append(1)
        if len(calls) == 2:
            held(fetched)

    with ring(device, 2, inside=inside) as runs:
        first = runs.submit(x(3), ["y"])
        seen(device, 0, "execute", "begin")
        second = runs.submit(x(3), ["y"])
        assert y(first) == [3, 3, 3]
        fetched.set()
        assert y(second) == [3, 3, 3]
    assert index(device, 0, "d2h", "end") < index(device, 1, "execute", "end")


def test_at_most_as_many_runs_are_under_way_as_there_are_slots() -> None:
    device, gate = FakeDevice(), threading.Event()
    with ring(device, 2, inside=lambda: held(gate)) as runs:
        tickets = [runs.submit(x(3, value), ["y"]) for value in range(2)]
        third = threading.Thread(target=lambda: tickets.append(runs.submit(x(3, 2), ["y"])))
        third.start()
        third.join(0.1)
        assert third.is_alive() and len(tickets) == 2
        gate.set()
        third.join(LIMIT_S)
        assert [y(ticket)[0] for ticket in tickets] == [1, 3, 5]


def test_memory_is_fixed_after_the_largest_run() -> None:
    device = FakeDevice()
    with ring(device, 3) as runs:
        for count in (5, 50, 500):
            for _ in range(3):
                runs.submit(x(count), ["y", "z"]).result()
        fixed, live = device.allocations, {a: len(m) for a, m in device.live.items()}
        for count in [1, 500, 7, 50] * 25:
            runs.submit(x(count), ["y", "z"]).result(copy=False)
        assert device.allocations == fixed
        assert {a: len(m) for a, m in device.live.items()} == live
        assert len(live) == 3 * (2 + 2)  # a slot: x, and y with z, on the host and on the device


def test_views_are_valid_until_the_slot_is_used_again() -> None:
    with ring(FakeDevice(), 2) as runs:
        first = runs.submit(x(3, 1), ["y"])
        view = first.result(copy=False).outputs["y"]
        runs.submit(x(3, 2), ["y"]).result()
        assert view.tolist() == [3, 3, 3]
        runs.submit(x(3, 9), ["y"]).result()
        assert view.tolist() == [19, 19, 19]
        with pytest.raises(EngineError, match="a later run reused their buffer"):
            first.result()


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        (Faults(execution=3), "an execution failed"),
        (Faults(copy=5), "a copy failed"),
        (Faults(copy=6), "a copy failed"),
    ],
)
@pytest.mark.parametrize("slots", [1, 3])
def test_an_error_in_mid_stream_is_its_run_s_alone(faults: Faults, said: str, slots: int) -> None:
    device = FakeDevice(Faults(copy=faults.copy, execution=faults.execution))
    with ring(device, slots) as runs:
        tickets = [runs.submit(x(3, value), ["y"]) for value in range(9)]
        for value, ticket in enumerate(tickets):
            if value == 2:
                for _ in range(2):
                    with pytest.raises(EngineError, match=said):
                        ticket.result()
            else:
                assert y(ticket) == [2 * value + 1] * 3


@pytest.mark.parametrize("nth", [1, 4, 8, 12])
def test_no_room_fails_one_run_and_the_next_is_tried_afresh(nth: int) -> None:
    """Allocation nth of the growth from 3 to 300 numbers fails, wherever that is."""
    device = FakeDevice(Faults(allocation=nth))
    with ring(device, 2) as runs:
        failures = 0
        for value, count in enumerate([3, 3, 300, 300, 300, 3]):
            try:
                assert y(runs.submit(x(count, value), ["y"])) == [2 * value + 1] * count
            except DeviceMemoryError:
                failures += 1
        assert failures == 1
        assert y(runs.submit(x(300), ["y"])) == [3] * 300


def test_a_ctrl_c_in_a_submit_frees_the_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    device = FakeDevice()
    with ring(device, 1) as runs:
        with monkeypatch.context() as patch:
            patch.setattr(FakeExecutor, "enqueue", _interrupted)
            with pytest.raises(KeyboardInterrupt):
                runs.submit(x(3), ["y"])
        assert y(runs.submit(x(3, 2), ["y"])) == [5, 5, 5]


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_close_waits_for_what_is_under_way_and_keeps_its_results() -> None:
    device, gate = FakeDevice(), threading.Event()
    with ring(device, 3, inside=lambda: held(gate)) as runs:
        tickets = [runs.submit(x(3, value), ["y"]) for value in range(3)]
        threading.Timer(0.05, gate.set).start()
    assert [y(ticket)[0] for ticket in tickets] == [1, 3, 5]


@pytest.mark.parametrize("nth", [1, 2, 5])
def test_an_error_while_closing_is_raised_after_everything_was_freed(nth: int) -> None:
    device = FakeDevice(Faults(close=nth))
    with pytest.raises(EngineError, match="freeing failed"), ring(device, 2) as runs:
        for _ in range(2):
            runs.submit(x(3), ["y"]).result()
    assert device.clean


def test_memory_shared_with_the_cpu_is_not_copied() -> None:
    device = FakeDevice(mapped=True)
    with ring(device, 2) as runs:
        assert y(runs.submit(x(3, 4), ["y"])) == [9, 9, 9]
        assert {what for _, what, _ in device.journal} == {"execute"}


@pytest.mark.parametrize(("sizes", "slots"), [((3, 2), 1), ((3, 2, 5), 3)])
def test_sizes_by_turns_are_replayed(sizes: tuple[int, ...], slots: int) -> None:
    """A plain run, a second one in a context of its own and a captured one a size and slot."""
    device = FakeDevice(graphs=True)
    with ring(device, slots) as runs:
        counts = [sizes[n % len(sizes)] for n in range(60)]
        done = [runs.submit(x(count, n), ["y"]).result() for n, count in enumerate(counts)]
        assert [d.outputs["y"].tolist() for d in done] == [
            [2 * n + 1] * count for n, count in enumerate(counts)
        ]
        assert sum(d.times.replayed for d in done) >= 60 - 2 * slots * len(sizes)


def test_further_contexts_give_way_to_a_larger_run() -> None:
    """Four buffers were made; the fifth finds no room until the second context is gone."""
    device, made = FakeDevice(Faults(allocation=5), graphs=True), []

    def executor() -> FakeExecutor:
        made.append(FakeExecutor(device))
        return made[-1]

    with SlotRing(device, executor, RingSettings(1)) as runs:
        for count in (3, 2, 3, 2, 3):
            runs.submit(x(count), ["y"]).result()
        assert len(made) == 2 and device.allocations == 4
        assert y(runs.submit(x(500), ["y"])) == [3] * 500
        assert [item in device.open for item in made].count(True) == 1
    assert device.clean


def test_a_refused_capture_leaves_plain_runs_for_good() -> None:
    device = FakeDevice(graphs=True)
    device.refuse_graphs = True
    with ring(device, 1) as runs:
        done = [runs.submit(x(3, value), ["y"]).result() for value in range(6)]
        assert [d.outputs["y"][0] for d in done] == [1, 3, 5, 7, 9, 11]
        assert not any(d.times.replayed for d in done)
        assert device.faults.count("capture") == 1


def test_latency_mode_is_one_slot_that_spins() -> None:
    device = FakeDevice()
    with SlotRing(device, lambda: FakeExecutor(device), LATENCY) as runs:
        assert len(runs) == 1
        assert {event.spin for event in device.open if hasattr(event, "spin")} == {True}
    assert device.clean


def test_closing_while_threads_submit() -> None:
    device = FakeDevice()
    with ring(device, 2) as runs, ThreadPoolExecutor(4) as pool:

        def work(value: int) -> bool:
            try:
                return y(runs.submit(x(5, value), ["y"])) == [2 * value + 1] * 5
            except EngineError as error:
                return "has been closed" in str(error)

        futures = [pool.submit(work, value) for value in range(200)]
        time.sleep(0.005)
        runs.close()
        assert all(future.result(LIMIT_S) for future in futures)


@pytest.mark.parametrize(
    "seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 8))]
)
def test_random_runs_of_several_threads(seed: int) -> None:
    """Random sizes, outputs, copies, slow streams and faults, from several threads."""
    dice = random.Random(seed)
    faults = Faults(allocation=dice.randint(1, 40), copy=dice.randint(1, 200))
    faults.execution = dice.randint(1, 100)
    device = FakeDevice(faults, dice.random() < 0.3, dice.random() < 0.5, _pause(dice.random()))
    failures: list[EngineError] = []
    with ring(device, dice.randint(1, 4)) as runs, ThreadPoolExecutor(3) as pool:

        def work(part: int) -> None:
            own = random.Random(f"{seed} {part}")
            waiting: list[tuple[int, int, PendingRun]] = []
            for value in range(60):
                size = own.choice([1, 2, 30, 400])
                waiting.append((value, size, runs.submit(x(size, value), ["z", "y"])))
                while waiting and own.random() < 0.6:
                    check(*waiting.pop(own.randrange(len(waiting))))
            for item in waiting:
                check(*item)

        def check(value: int, size: int, ticket: PendingRun) -> None:
            try:
                outputs = ticket.result().outputs
            except EngineError as error:
                failures.append(error)
                return
            assert outputs["y"].tolist() == [2 * value + 1] * size
            assert outputs["z"].tolist() == [-value] * size

        list(pool.map(work, range(3)))
    assert len(failures) <= 3
    assert device.clean


def _pause(share: float) -> Callable[[], None]:
    dice = random.Random(share)
    return lambda: time.sleep(0.002) if dice.random() < share / 4 else None
