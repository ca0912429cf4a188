"""Suites: which workloads are measured, and how; found by the registry at the end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from experiments.benchmarks import agreement
from experiments.benchmarks.cases import CASES, flow_options, numbers, scheme_options
from experiments.benchmarks.entrants.base import Entrant
from experiments.benchmarks.modules import NAMES
from experiments.benchmarks.options import check_gpu
from experiments.benchmarks.race import Pool, Settings, described, race
from experiments.benchmarks.records import FAILED, REFUSED, SKIPPED, TIMED, EntryRecord, MemoryRecord, path_of
from experiments.benchmarks.workload import Array, Workload
from pynode.errors import PynodeError
from pynode.records.files import append_line
from pynode.registry import Registry
from pynode.wording import counted

if TYPE_CHECKING:
    from pynode.methods.base import GradientMethod

ORDER = ("spiral", "spiral-opt-disc", "8gaussians", "miniboone", "bsds300")
"""The order of cases in a report; others follow by name."""

MEMORY_STEPS = (1, 2, 4, 8, 16, 32, 64)

QUICK_STEPS = (1, 2, 4, 8)

SECONDS, QUICK_SECONDS = 150.0, 40.0
"""Time limits of the suite `gpu`."""

BATCH = 512

MODULE_BATCHES = (1, 100, 512)

BUDGET = 4
"""Checkpoints that the way "checkpoint" may keep."""

ADJOINT = "continuous adjoint"

WAYS = ("store", "recompute", f"checkpoint {BUDGET}", ADJOINT)
"""Disc-Opt's three ways, and Opt-Disc, which keeps nothing and solves the state backwards."""

SMALLEST_RTOL = 1e-10


@dataclass(frozen=True)
class Task:
    """What the command asks for: None stands for the suite's own choice."""

    entrants: tuple[type[Entrant], ...]
    cases: tuple[str, ...] | None
    threads: int | None
    repeats: int | None
    quick: bool
    directory: Path
    say: Callable[[str], None]
    device: str = "cuda"
    """The device of the suite `gpu`; tests take the CPU."""
    seconds: float | None = None
    """The time limit of the suite `gpu`."""


@dataclass(frozen=True)
class Choice:
    """Names among which an option chooses, and what one of them is called."""

    kind: str
    names: tuple[str, ...]


class Suite(ABC):
    """One kind of benchmark: writes records into the task's directory."""

    name: ClassVar[str]
    entered: ClassVar[tuple[str, ...] | None] = None
    """Who is measured unless `--peers` says otherwise; None stands for all."""

    def cases(self) -> Choice:
        """What `--cases` can name."""
        return Choice(CASES.kind, CASES.names())

    def check(self, task: Task) -> None:  # noqa: B027 (most need nothing)
        """Raises a `UsageError` where this can't run here."""

    @abstractmethod
    def run(self, task: Task) -> list[EntryRecord]:
        """Measures; returns what became of the entrants."""


def case_names(task: Task) -> list[str]:
    """The cases that are asked for, in the order of a report."""
    names = task.cases or CASES.names()
    return sorted(names, key=lambda n: (ORDER.index(n) if n in ORDER else len(ORDER), n))


def race_all(
    task: Task, workloads: Iterable[Workload], settings: Settings, pool: Pool | None = None
) -> list[EntryRecord]:
    """All workloads, one after another, with the task's threads."""
    entries: list[EntryRecord] = []
    for workload in workloads:
        if task.threads is not None:
            workload = replace(workload, threads=task.threads)
        entries += race(workload, task.entrants, settings, task.directory, task.say, pool=pool)
    return entries


class Cpu(Suite):
    """Every case in the size of the study."""

    name: ClassVar[str] = "cpu"

    def run(self, task: Task) -> list[EntryRecord]:
        workloads = [w for name in case_names(task) for w in CASES.load(name)().workloads(quick=task.quick)]
        return race_all(task, workloads, settings_of(task))


def settings_of(task: Task) -> Settings:
    """Turns and their length."""
    if task.quick:
        return Settings(repeats=task.repeats or 3, block=0.05, caches=False)
    return Settings(repeats=task.repeats or 15)


class Gpu(Suite):
    """Every case in the size of the study, states and parameters on the GPU, within a time limit; see `heats`."""

    name: ClassVar[str] = "gpu"
    entered: ClassVar[tuple[str, ...] | None] = (
        "pynode-eager",
        "pynode-graph",
        "pynode-graph-iteration",
        "jax",
        "torch-reduce-overhead",
    )

    def check(self, task: Task) -> None:
        check_gpu("--suite gpu", task.device, ", or take --suite cpu")

    def run(self, task: Task) -> list[EntryRecord]:
        from experiments.benchmarks.heats import Heats

        workloads = [
            replace(w, device=task.device, title=f"{w.title}, {task.device.upper()}", threads=task.threads or w.threads)
            for name in case_names(task)
            for w in CASES.load(name)().on_gpu(quick=task.quick)
        ]
        settings = Settings(repeats=task.repeats or (5 if task.quick else 12), block=0.03 if task.quick else 0.12)
        seconds = task.seconds or (QUICK_SECONDS if task.quick else SECONDS)
        return Heats(settings, task.directory, task.say, seconds).run(workloads, task.entrants)


class Scaling(Suite):
    """Each family of workloads that the cases have."""

    name: ClassVar[str] = "scaling"
    entered: ClassVar[tuple[str, ...] | None] = ("pynode-fused", "pynode-eager")

    def run(self, task: Task) -> list[EntryRecord]:
        settings = Settings(
            repeats=task.repeats or (2 if task.quick else 5),
            block=0.03 if task.quick else 0.15,
            ceilings=False,
            caches=False,
        )
        workloads = [w for name in case_names(task) for w in CASES.load(name)().scaling(quick=task.quick)]
        return race_all(task, workloads, settings)


class Memory(Suite):
    """8gaussians, batch 512, float64, by torch operators, whose memory `pynode.peak_bytes` follows tensor by tensor.

    What each way allows for n steps, with S the bytes of a state, P those of theta and M the peak of a gradient through
    one step: "store" n M; "recompute" n S + R, "checkpoint" with k checkpoints (k + 1) S + R, since one state is on its
    way from a checkpoint, the continuous adjoint R, where R = M + 8 S + 2 P is one step's graph and, beside it, first
    and last state, the cotangent before and after, theta's cotangents so far and their sum with those of one step, and
    what shows that the field is still the same: the initial state and the time there with their slope, then and now.
    Opt-Disc's steps are those that its forward solve takes at a tolerance.
    """

    name: ClassVar[str] = "memory"
    entered: ClassVar[tuple[str, ...] | None] = ()

    def run(self, task: Task) -> list[EntryRecord]:
        workload = Workload(
            name="memory",
            title=f"8gaussians, batch {BATCH}: memory",
            unit="gradient",
            axis="steps",
            **{**flow_options(BATCH), "dtype": "float64", "threads": 1},
        )
        append_line(path_of(task.directory, "workloads"), described(workload))
        table = _Measurements(workload, task, QUICK_STEPS if task.quick else MEMORY_STEPS)
        entries = []
        for way in WAYS:
            entries.append(table.measure(way))
            append_line(path_of(task.directory, "entries"), entries[-1])
        return entries


class _Measurements:
    """One way after another, each compared with the first."""

    def __init__(self, workload: Workload, task: Task, steps: tuple[int, ...]) -> None:
        self.workload, self.task, self.steps = workload, task, steps
        self.gradients: dict[int, Array] = {}
        self.one_step = 0

    def measure(self, way: str) -> EntryRecord:
        """Records a way at all numbers of steps; what became of it."""
        name, seen = self.workload.name, set()
        for steps in self.steps:
            self.task.say(f"memory: {way}, {counted(steps, 'step')}")
            try:
                method = _method(way, self.workload, steps)
            except (PynodeError, TypeError) as error:
                return EntryRecord(name, way, SKIPPED, f"this pynode has no such method: {error}")
            try:
                peak, taken, gradient = _measure(self.workload, method)
            except PynodeError as error:
                return EntryRecord(name, way, FAILED, str(error))
            self.one_step = self.one_step or peak
            apart = None
            if way != ADJOINT:
                apart = agreement.difference(gradient, self.gradients.setdefault(taken, gradient))
                if not apart <= agreement.DISCRETE:
                    return EntryRecord(name, way, REFUSED, f"its gradient is off by {apart:.1e}")
            if taken not in seen:
                seen.add(taken)
                record = MemoryRecord(name, way, taken, peak, self.allowed(way, taken), apart)
                append_line(path_of(self.task.directory, "memory"), record)
        return EntryRecord(name, way, TIMED)

    def allowed(self, way: str, steps: int) -> float:
        """What the way allows, in bytes."""
        arrays = self.workload.arrays
        state = 8 * self.workload.batch * (self.workload.widths[0] + 1)
        step = self.one_step + 8 * state + 2 * arrays["theta"].nbytes
        limits = {
            "store": steps * self.one_step,
            "recompute": steps * state + step,
            f"checkpoint {BUDGET}": (BUDGET + 1) * state + step,
        }
        return float(limits.get(way, step))


def _method(way: str, workload: Workload, steps: int) -> GradientMethod:
    from pynode.methods.base import method_from_json

    if way == ADJOINT:  # the more steps are asked for, the smaller the tolerance
        rtol = max(SMALLEST_RTOL, 1e-2 * steps**-4.0)
        tolerances = {"rtol": rtol, "atol": rtol / 100}
        return method_from_json({"method": "opt-disc", **tolerances, "adjoint": "backsolve", "engine": "eager"})
    kept, _, budget = way.partition(" ")
    options = {"method": "disc-opt", "scheme": workload.scheme, "steps": steps, "memory": kept, "engine": "eager"}
    return method_from_json({**options, "budget": int(budget)} if budget else options)


def _measure(workload: Workload, method: GradientMethod) -> tuple[int, int, Array]:
    """Peak bytes of one loss and gradient, the steps of its forward solve, and the gradient."""
    import numpy as np
    import torch

    from pynode.fields.base import field_from_json
    from pynode.flows.flow import Flow
    from pynode.memory import peak_bytes

    theta, x = (torch.from_numpy(workload.arrays[name]) for name in ("theta", "y0"))
    field = field_from_json(workload.spec).build(theta=theta)
    flow = Flow([field], x.shape[1], horizon=workload.ts[-1], method=method)
    steps: list[int] = []

    def work() -> None:
        moved = flow.transport(x)
        steps.append(sum(s.forward.n_accepted for s in moved.solves))
        (-moved.log_prob.mean()).backward()

    peak = peak_bytes(work)
    grads = [numbers(p.grad).reshape(-1) for p in flow.parameters() if p.grad is not None]
    return peak, steps[0], np.concatenate(grads)


class OwnModules(Suite):
    """Modules as users write them, at three batch sizes: mean square of the last state, gradient by theta and y0."""

    name: ClassVar[str] = "own-modules"
    entered: ClassVar[tuple[str, ...] | None] = (
        "pynode-auto",
        "pynode-eager",
        "torchdiffeq",
        "torch-compile",
        "jax",
        "diffrax",
    )

    def cases(self) -> Choice:
        return Choice("module", NAMES)

    def run(self, task: Task) -> list[EntryRecord]:
        settings = Settings(
            repeats=task.repeats or (3 if task.quick else 5), block=0.02 if task.quick else 0.05, ceilings=False
        )
        batches = MODULE_BATCHES[:2] if task.quick else MODULE_BATCHES
        names = [name for name in NAMES if task.cases is None or name in task.cases]
        with Pool() as pool:
            return race_all(task, (own_workload(name, n) for name in names for n in batches), settings, pool)


def own_workload(name: str, batch: int) -> Workload:
    """One module on `batch` states: 20 steps over [0, 1] by the 3/8 rule, which torchdiffeq has as well."""
    import numpy as np

    from experiments.benchmarks.modules.in_torch import module_called, states_of

    params = dict(module_called(name).named_parameters())
    return Workload(
        name=f"{name}-{batch}",
        title=f"{name}, batch {batch}",
        kind="module",
        method="disc-opt",
        unit="gradient",
        spec={"module": name, "slots": [[slot, list(p.shape)] for slot, p in params.items()]},
        ts=(0.0, 1.0),
        dtype="float64",
        threads=1,
        steps=20,
        **scheme_options("rk38"),
        axis="batch",
        value=batch,
        arrays={
            "theta": np.concatenate([numbers(p).reshape(-1) for p in params.values()]),
            "y0": numbers(states_of(name, batch)),
        },
    )


SUITES: Registry[type[Suite]] = Registry("experiments.benchmarks.suites", "suite", "Suite")
"""All suites by name."""
