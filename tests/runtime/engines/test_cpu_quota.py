"""The CPU quota of a container, of both versions of control groups."""

from __future__ import annotations

from pathlib import Path

import pytest

from foveate.runtime.engines import hardware
from foveate.runtime.engines.hardware import available_cores, cpu_quota

V1 = "4:memory:/docker/1\n2:cpu,cpuacct:/docker/1\n0::/docker/1\n"
CASES: dict[str, tuple[str, dict[str, str], float | None]] = {
    "version 2": ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
    "version 2, a parent": (
        "0::/pods/a\n", {"pods/a/cpu.max": "max 100000\n", "pods/cpu.max": "50000 100000\n"}, 0.5
    ),
    "version 2, none": ("0::/\n", {"cpu.max": "max 100000\n"}, None),
    "version 1": (
        V1,
        {
            "cpu,cpuacct/docker/1/cpu.cfs_quota_us": "400000\n",
            "cpu,cpuacct/docker/1/cpu.cfs_period_us": "100000\n",
        },
        4,
    ),
    "version 1, its own group at the top": (
        V1,
        {"cpu,cpuacct/cpu.cfs_quota_us": "200000", "cpu,cpuacct/cpu.cfs_period_us": "100000"},
        2,
    ),
    "version 1, none": (
        V1, {"cpu,cpuacct/cpu.cfs_quota_us": "-1", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, None
    ),
    "nonsense": ("0::/\n", {"cpu.max": "a lot\n"}, None),
}  # fmt: skip


@pytest.mark.parametrize(("groups", "files", "expected"), CASES.values(), ids=CASES)
def test_the_quota(
    groups: str, files: dict[str, str], expected: float | None, tmp_path: Path
) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(groups)
    for name, content in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    assert cpu_quota(tmp_path) == expected


def test_without_control_groups_there_is_no_quota(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) is None


@pytest.mark.parametrize(
    ("quota", "cores"), [(None, 8), (0.5, 1), (1.0, 1), (1.5, 2), (4.04, 4), (64.0, 8)]
)
def test_a_part_of_a_core_counts_as_one(
    quota: float | None, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "cpu_quota", lambda: quota)
    monkeypatch.setattr(hardware, "affine_cores", lambda: 8)
    assert available_cores() == cores
