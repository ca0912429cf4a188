"""What the entrants of a workload differentiate: tables and figures compare entrants of one kind only."""

from __future__ import annotations

from experiments.benchmarks.records import Benchmark, WorkloadRecord

CONTINUOUS = "continuous adjoint"
THROUGH_STEPS = "through the steps taken"

STEPPING = ("checkpoint", "autograd")
"""Ends of the names of variants that differentiate the steps that an adaptive solver took: diffrax's
RecursiveCheckpointAdjoint and torchode's backpropagation."""


def kind_of(entrant: str) -> str:
    """What an entrant differentiates where the solve is adaptive."""
    return THROUGH_STEPS if entrant.endswith(STEPPING) else CONTINUOUS


def parts(benchmark: Benchmark, workload: WorkloadRecord) -> list[tuple[str, dict[str, list[float]]]]:
    """Seconds by entrant and turn, for each kind of gradient by itself, with the title of each part.

    Fixed steps have one kind: all entrants give the same gradient, to rounding.
    """
    seconds = benchmark.seconds(workload.name)
    if workload.method != "opt-disc":
        return [(workload.title, seconds)] if seconds else []
    by_kind = {k: {n: s for n, s in seconds.items() if kind_of(n) == k} for k in (CONTINUOUS, THROUGH_STEPS)}
    titles = {CONTINUOUS: workload.title, THROUGH_STEPS: workload.title.replace("Opt-Disc", "adaptive")}
    return [(f"{titles[kind]}, {kind}", by_entrant) for kind, by_entrant in by_kind.items() if by_entrant]


def turns_won(peer: list[float], base: list[float]) -> str:
    """In how many turns `peer` was faster than `base`."""
    pairs = list(zip(peer, base, strict=False))
    return f"{sum(a < b for a, b in pairs)} of {len(pairs)}"
