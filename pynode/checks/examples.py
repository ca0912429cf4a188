"""Small cases to check gradients on: every registered architecture, and the states of a flow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, fields
from typing import Any

import torch

from pynode.checks.case import Case, FlowState, LossForm, versions
from pynode.errors import InvalidArgument, UnknownName
from pynode.fields import FIELDS
from pynode.fields.base import FieldSpec
from pynode.flows.probes import Draw

SMALL: dict[str, Any] = {
    # options of small examples: an architecture takes those that it has
    "widths": (3, 8, 3),
    "dim": 4,
    "width": 6,
    "gamma": 0.1,
    "input_power": 2,
}
FLOWS = ("cnf-exact", "cnf-hutchinson")
"""Examples whose state is that of a flow."""


def example_names() -> tuple[str, ...]:
    """Names of the examples: every registered architecture, and the states of a flow."""
    return (*FIELDS.names(), *FLOWS)


def example_cases(names: Sequence[str], seed: int = 0) -> list[Case]:
    """Small cases of each of `names` in both time directions, three samples each; raises `UnknownName`."""
    found = []
    for name in names:
        if name not in example_names():
            raise UnknownName("field", name, example_names())
        spec = _small_spec("concatsquash" if name in FLOWS else name)
        generator = torch.Generator().manual_seed(seed)
        theta = 0.5 * torch.randn(spec.n_params, dtype=torch.float64, generator=generator)
        y0 = 0.8 * torch.randn(3, spec.state_dim, dtype=torch.float64, generator=generator)
        flow, form, times = None, LossForm("squares", shift=0.5, scale=1 / len(y0)), [0.0, 0.3, 0.7, 1.0]
        if name in FLOWS:
            probes = Draw(seed).probes("rademacher", y0) if name == "cnf-hutchinson" else None
            flow, form, times = FlowState(probes), LossForm("nll"), [0.0, 0.5]
            y0 = torch.cat((y0, torch.zeros(len(y0), 1, dtype=torch.float64)), dim=1)
        for suffix, ts in (("", times), ("-reversed", times[::-1])):
            ts_ = torch.tensor(ts, dtype=torch.float64)
            found.append(Case(f"{name}{suffix}", spec, theta, y0, ts_, form, flow, versions=versions()))
    return found


def _small_spec(architecture: str) -> FieldSpec:
    kind: Any = FIELDS.load(architecture)
    needed = {f.name for f in fields(kind) if f.default is MISSING}
    if unknown := sorted(needed - set(SMALL)):
        remedy = "add it to SMALL in pynode/checks/examples.py, or choose others by --fields"
        raise InvalidArgument("--fields", architecture, f"no small example: it needs {', '.join(unknown)}", remedy)
    spec: FieldSpec = kind(**{f.name: SMALL[f.name] for f in fields(kind) if f.name in SMALL})
    return spec
