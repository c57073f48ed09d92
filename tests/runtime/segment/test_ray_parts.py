"""What ``--ray`` is made of, without Ray: addresses, shares of a cluster, and what is sent."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from foveate.runtime.errors import EngineError, OutputError, SettingsError
from foveate.runtime.io.inputs import Item
from foveate.runtime.segment.item_worker import Failure, Written
from foveate.runtime.segment.ray.address import address_filled_in, check_address
from foveate.runtime.segment.ray.cluster import Allocation, Node, allocate_actors
from foveate.runtime.segment.ray.messages import (
    TaskResult,
    items_of,
    result_of,
    result_text,
    task_text,
)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("--ray b in --out o", "--ray=local b in --out o"),
        ("b in --out o --ray", "b in --out o --ray=local"),
        ("b in --ray --out o", "b in --ray=local --out o"),
        ("--ray auto b in", "--ray auto b in"),
        ("--ray 10.0.0.7:6379 b in", "--ray 10.0.0.7:6379 b in"),
        ("--ray [::1]:6379 b in", "--ray [::1]:6379 b in"),
        ("--ray=head:6379 b in", "--ray=head:6379 b in"),
        ("--ray c:/scans/x.png", "--ray=local c:/scans/x.png"),
        ("b -- --ray in", "b -- --ray in"),
    ],
)
def test_the_address_may_be_left_out_anywhere(given: str, meant: str) -> None:
    assert address_filled_in(given.split()) == meant.split()


def test_what_is_no_address_is_refused() -> None:
    for text in ("local", "auto", "head:6379"):
        check_address(text)
    for text in ("lung.bundle", "ray://head:10001", "head:", "a b:1", ""):
        with pytest.raises(SettingsError, match="expected HOST:PORT"):
            check_address(text)


@pytest.mark.parametrize(
    ("nodes", "gpu", "expected", "items", "actors", "cores"),
    [
        ([Node(2)], False, 0, 100, 1, 2),
        ([Node(2)], False, 2, 100, 2, 1),
        ([Node(2)], False, 9, 100, 2, 1),
        ([Node(2)], False, 2, 1, 1, 2),
        ([Node(16)], False, 0, 100, 4, 4),
        ([Node(4), Node(4)], False, 1, 100, 1, 4),  # no actor has cores of two machines
        ([Node(4), Node(6)], False, 3, 100, 3, 3),
        ([Node(5), Node(7)], False, 3, 100, 3, 3),  # of four each would fit only two
        ([Node(8), Node(16, 2)], True, 0, 100, 2, 8),
        ([Node(8, 1), Node(16, 2)], True, 0, 100, 3, 8),
        ([Node(16, 2)], True, 8, 100, 2, 8),
        ([Node(0), Node(4)], False, 0, 100, 1, 4),
    ],
)
def test_actors_fit_into_the_machines(
    nodes: list[Node], gpu: bool, expected: int, items: int, actors: int, cores: int
) -> None:
    assert allocate_actors(nodes, gpu, expected, items) == Allocation(actors, cores, gpu)
    assert sum(node.holds(cores, gpu) for node in nodes) >= actors


def test_a_cluster_without_what_is_needed() -> None:
    with pytest.raises(EngineError, match="no GPU, which this engine needs"):
        allocate_actors([Node(64)], True, 0, 10)
    with pytest.raises(EngineError, match="no CPU"):
        allocate_actors([], False, 0, 10)


def test_items_and_what_came_of_them_arrive_as_they_were_sent() -> None:
    name = b"scan \xff\n\xc3\xa9".decode("utf-8", "surrogateescape")
    items = [Item(Path(name + ".tif"), f"sub/{name}.p2", 2), Item(Path("/a/b.png"), "b")]
    assert items_of(task_text(items)) == items
    written = Written({"input": name, "page": 2, "score": 0.123456789012345}, {"decode": 1.5})
    result = TaskResult([written, Failure(name, "is cut short", 3)], idle="x")
    text = result_text(result)
    assert text.isascii() and result_of(text) == result


def test_errors_arrive_as_what_they_were() -> None:
    def sent(error: Exception) -> Exception | None:
        return result_of(result_text(TaskResult([], error))).error

    ours = sent(OutputError("no room"))
    assert type(ours) is OutputError and str(ours) == "no room"
    full = sent(OSError(errno.ENOSPC, "No space left on device", Path("out/a.png")))
    assert isinstance(full, OSError) and (full.errno, full.filename) == (errno.ENOSPC, "out/a.png")
    defect = sent(KeyError("what"))
    assert type(defect) is RuntimeError and "KeyError: 'what'" in str(defect)
    assert sent(OSError("without a number")) is not None
