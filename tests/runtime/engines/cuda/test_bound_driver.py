"""``BoundDriver`` over a stand-in for cuda-bindings, and the words of broken contexts.

The stand-in answers with statuses as the module does. It is no evidence of a driver.
"""

from __future__ import annotations

import gc
from typing import Any

import pytest

from foveate.runtime.engines.cuda.bound_driver import BoundDriver
from foveate.runtime.engines.cuda.device import MemoryInfo
from foveate.runtime.engines.cuda.driver_errors import translate_driver_errors
from foveate.runtime.errors import DeviceMemoryError, EngineError


class Status(int):
    name = "CUDA_ERROR_OF_THE_TEST"


class Handle(int):
    """A handle of the driver, as ``CUstream(7)`` is one."""


class DriverModule:
    """``answers``: what functions return in place of success; all calls are noted."""

    class CUpointer_attribute:
        CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL = 9

    class CUstreamCaptureMode:
        CU_STREAM_CAPTURE_MODE_THREAD_LOCAL = 1

    CUstream = Handle

    def __init__(self, **answers: tuple[Any, ...] | Exception) -> None:
        self._answers, self.calls = answers, list[str]()

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("cu"):
            raise AttributeError(name)

        def call(*_: object) -> tuple[Any, ...]:
            self.calls.append(name)
            answer = self._answers.get(name, (Status(0), Handle(1)))
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call


def test_a_capture_gives_the_executable_graph_and_frees_the_other() -> None:
    module, collecting = DriverModule(), []
    found = BoundDriver(module, "GPU").captured(7, lambda: collecting.append(gc.isenabled()))
    assert found == 1 and collecting == [False] and gc.isenabled()
    assert module.calls == [
        "cuStreamBeginCapture", "cuStreamEndCapture", "cuGraphInstantiate", "cuGraphDestroy",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "refused", ["cuStreamBeginCapture", "cuStreamEndCapture", "cuGraphInstantiate"]
)
def test_a_capture_that_the_driver_refuses_is_none_and_leaks_no_graph(refused: str) -> None:
    module = DriverModule(**{refused: (Status(2), None)})
    assert BoundDriver(module, "GPU").captured(7, lambda: None) is None
    given = refused == "cuGraphInstantiate"
    assert module.calls.count("cuGraphDestroy") == given and gc.isenabled()


@pytest.mark.parametrize("error", [EngineError("refused"), KeyboardInterrupt()])
def test_a_capture_whose_work_fails_is_ended_and_its_graph_freed(error: BaseException) -> None:
    module = DriverModule()

    def work() -> None:
        raise error

    if isinstance(error, EngineError):
        assert BoundDriver(module, "GPU").captured(7, work) is None
    else:
        with pytest.raises(KeyboardInterrupt):
            BoundDriver(module, "GPU").captured(7, work)
    assert module.calls[1:] == ["cuStreamEndCapture", "cuGraphDestroy"] and gc.isenabled()


def test_bindings_newer_than_the_driver_are_an_engine_error_with_the_line() -> None:
    module = DriverModule(cuEventRecord=RuntimeError('Function "cuEventRecord" not found'))
    with pytest.raises(EngineError, match="pip install 'cuda-bindings<13' where nvidia-smi shows"):
        BoundDriver(module, "GPU").follow(1, 2)
    assert module.calls[-1] == "cuEventDestroy"


class DriverDevice:
    name, error, memory_error = "GPU", ValueError, MemoryError

    def memory(self) -> MemoryInfo:
        return MemoryInfo(3 << 20, 8 << 20)


@pytest.mark.parametrize(
    ("status", "broken"), [(700, True), (719, True), (999, True), (2, False), (712, False)]
)
def test_an_error_that_breaks_the_process_says_so_by_its_number(status: int, broken: bool) -> None:
    driver = BoundDriver(DriverModule(cuGraphLaunch=(Status(status),)), "GPU")
    with pytest.raises(EngineError) as raised:
        driver.launch(1, 7)
    assert ("restart the process" in str(raised.value)) is broken


@pytest.mark.parametrize(
    ("said", "broken"),
    [
        ("cuEventRecord failed: an illegal memory access was encountered", True),
        ("cuStreamSynchronize failed: unspecified launch failure", True),
        ("cuMemcpyHtoDAsync failed: invalid argument", False),
    ],
)
def test_an_error_that_breaks_the_process_says_so_by_its_words(said: str, broken: bool) -> None:
    with pytest.raises(EngineError) as raised, translate_driver_errors(DriverDevice(), "a copy"):
        raise ValueError(said)
    assert ("restart the process" in str(raised.value)) is broken


def test_no_room_for_page_locked_memory_does_not_quote_the_gpu() -> None:
    with pytest.raises(DeviceMemoryError, match="9 bytes of page-locked.*ulimit") as raised:
        with translate_driver_errors(
            DriverDevice(), "9 bytes of page-locked host memory", on_host=True
        ):
            raise MemoryError
    assert "MiB" not in str(raised.value)
    with (
        pytest.raises(DeviceMemoryError, match="3 of its 8 MiB are free"),
        translate_driver_errors(DriverDevice(), "it"),
    ):
        raise MemoryError


def test_cuda_bindings_have_what_is_called() -> None:
    real = pytest.importorskip("cuda.bindings.driver")
    for name in (
        "cuEventCreate", "cuEventRecord", "cuEventDestroy", "cuStreamWaitEvent", "CUstream",
        "cuPointerGetAttribute", "cuStreamBeginCapture", "cuStreamEndCapture", "cuGraphDestroy",
        "cuGraphInstantiate", "cuGraphLaunch", "cuGraphExecDestroy",
    ):  # fmt: skip
        assert hasattr(real, name), name
    assert int(real.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL) == 9
