"""What the model assumes, each number with a low, a central and a high value and where it comes from.

"Low" and "high" mean low and high cost: all assumptions at once lean to one side, so the range is wide on purpose.
"""

from __future__ import annotations

from dataclasses import dataclass

SCENARIOS = ("low", "central", "high")


@dataclass(frozen=True)
class Assumption:
    """One number in its three scenarios."""

    name: str
    unit: str
    low: float
    central: float
    high: float
    reason: str

    def of(self, scenario: str) -> float:
        """The value in a scenario."""
        return float({"low": self.low, "central": self.central, "high": self.high}[scenario])


ASSUMPTIONS: tuple[Assumption, ...] = (
    Assumption(
        "product rate", "of peak", 0.85, 0.70, 0.45,
        "sustained by torch in products without TF32, which torch leaves off; activations are counted as bytes",
    ),
    Assumption("memory rate", "of peak", 0.85, 0.75, 0.55, "sustained by elementwise operators on large tensors"),
    Assumption(
        "launch", "s per operator", 4e-6, 8e-6, 15e-6,
        "eager torch from Python; the calibration on this machine's CPU gives the same order (its operators are no "
        "kernels, but the way to them is the same)",
    ),
    Assumption(
        "overlap", "of the smaller part", 1.0, 0.5, 0.0,
        "how much of launching hides behind running kernels: all for long queues, none where a step waits for a norm",
    ),
    Assumption(
        "iterations of tables", "", 8_000, 14_000, 20_000,
        "the study's cap is 20,000; it stops after more than 20 validations (4,000 iterations) without improvement, "
        "and where that happens is unknown",
    ),
    Assumption(
        "NFE of trained tables", "of the record's", 1.0, 1.5, 3.0,
        "the records are of a few hundred iterations on parts of the rows (of BSDS300 by a tenth of the width, of "
        "GAS and HEPMASS on stand-ins), and training on makes dynamics harder",
    ),
    Assumption("smallest batch", "rows per GPU", 128, 256, 512, "less leaves a GPU idle: no cell is spread thinner"),
    Assumption("link", "of peak", 0.8, 0.6, 0.4, "between GPUs of a node, for large messages"),
    Assumption("latency of NCCL", "s", 5e-6, 10e-6, 20e-6, "of one message of a ring, from Python to Python"),
    Assumption(
        "latency of gloo", "s", 25e-6, 75e-6, 200e-6,
        "of one message of a ring between processes of a node, from Python to Python; a sum over two ranks is two "
        "messages, and took 200 (fastest of 1,000) to 400 (median) microseconds on the two cores of a machine here",
    ),
    Assumption("start of a cell", "s", 10, 20, 60, "process, imports, data, first kernels; paid by each cell once"),
)  # fmt: skip


@dataclass(frozen=True)
class Scenario:
    """All assumptions at one side."""

    name: str

    def __getitem__(self, assumption: str) -> float:
        return next(a for a in ASSUMPTIONS if a.name == assumption).of(self.name)


STATED: tuple[str, ...] = (
    "Engine: eager torch operators on CUDA, one process a GPU, float32 (tables) or float64 (spiral, toys), no TF32.",
    "Seconds = t + (1 - overlap) u, t and u the larger and the smaller of (operations / product rate + bytes / memory "
    "rate) and (operators x launch); operators, operations and bytes are counted at the study's sizes.",
    "Disc-Opt: stages x steps evaluations and as many products, steps of the study where known and of the group's "
    "later paper else; stages are kept where they fit into 90 % of the memory, else made again (one more sweep).",
    "Opt-Disc: NFE of this project's published records of each problem at the study's tolerances, per block. Each "
    "backward evaluation has a product.",
    "Validation and test by an adaptive solve at 1e-6 / 1e-8, exact trace in the test, in chunks as the problems do; "
    "their NFE are those of the forward training solve at that tolerance.",
    "All seeds of a cell cost the same. Both methods train for the same number of iterations.",
    "Gangs (several GPUs that share each batch evenly) lie inside a node of 8 GPUs. Nothing hides exchanges: once "
    "an iteration the whole gradient by NCCL and the loss by gloo; by Opt-Disc besides, whose adjoint norm is mixed, a "
    "block's gradient by NCCL for each backward evaluation, and by gloo two sums a step and seven a block; each sum by "
    "NCCL waits for one by gloo before. Chunks of validation and likelihoods are dealt to the ranks, transports not.",
    "One GPU a cell is what `sweep` does. It begins dearest cells first by its own estimate (iterations x size), the "
    "schedule here by these seconds. `sweep` makes no gangs: those need `torchrun` by hand.",
    "Paid: all GPUs reserved from the first start to the last end, those too that a schedule never uses. Queues, "
    "failures, restarts, writing of checkpoints and records, storage: none.",
)
"""Assumptions without a range."""
