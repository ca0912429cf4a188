"""What a device sustains, and how long it takes for work."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from experiments.scale.allreduce import Link
from experiments.scale.assumptions import Scenario
from experiments.scale.work import Work
from pynode.errors import UnknownName


@dataclass(frozen=True)
class Peaks:
    """A data sheet: operations a second by dtype (no tensor cores for float32), bytes a second, bytes of memory, bytes
    a second of one direction of the links inside a node."""

    name: str
    operations: Mapping[str, float]
    bandwidth: float
    memory: float
    link: float


DEVICES: dict[str, Peaks] = {
    peaks.name: peaks
    for peaks in (
        Peaks("a100", {"float32": 19.5e12, "float64": 9.7e12}, 2.039e12, 80e9, 300e9),
        Peaks("h100", {"float32": 67e12, "float64": 34e12}, 3.35e12, 80e9, 450e9),
        Peaks("v100", {"float32": 15.7e12, "float64": 7.8e12}, 0.9e12, 32e9, 150e9),
        Peaks("titan-x", {"float32": 6.1e12, "float64": 0.19e12}, 0.336e12, 12e9, 12e9),
    )
}
"""Peaks of SXM modules (Titan X: Maxwell, PCIe) by NVIDIA's data sheets."""


@dataclass(frozen=True)
class Machine:
    """Sustained rates: operations a second by dtype, bytes a second, seconds an operator, how much of launching is
    hidden (0 to 1), memory in bytes, the link between two GPUs of a node, and that between two processes by gloo."""

    operations: Mapping[str, float]
    bandwidth: float
    launch: float
    overlap: float
    memory: float
    link: Link
    host: Link

    def seconds(self, work: Work, dtype: str) -> float:
        """Seconds for `work`: launching and running, as far as the one does not hide behind the other."""
        running = work.operations / self.operations[dtype] + work.bytes / self.bandwidth
        launching = work.launches * self.launch
        return max(running, launching) + (1.0 - self.overlap) * min(running, launching)


def machine(device: str, scenario: Scenario) -> Machine:
    """A GPU under the assumptions of a scenario; raises `UnknownName`."""
    if device not in DEVICES:
        raise UnknownName("device", device, DEVICES)
    peaks = DEVICES[device]
    return Machine(
        operations={dtype: rate * scenario["product rate"] for dtype, rate in peaks.operations.items()},
        bandwidth=peaks.bandwidth * scenario["memory rate"],
        launch=scenario["launch"],
        overlap=scenario["overlap"],
        memory=peaks.memory,
        link=Link(peaks.link * scenario["link"], scenario["latency of NCCL"]),
        host=Link(math.inf, scenario["latency of gloo"]),
    )
