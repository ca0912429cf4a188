"""Records losses and gradients of ten modules of the zoo by the real Julia stack, one case file each.

    python -m tests.reference.modules.record OUTDIR

Each file is a case as `pynode crosscheck --case` and `load_case` in a Julia REPL read it: the module's tape after its
preparation, whose constants are theta.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, get_args, get_type_hints

import torch

import pynode
from pynode.flows.probes import Draw
from pynode.julia.session import default_session
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt_julia import DiscOptJulia
from pynode.methods.opt_disc_julia import OptDiscJulia
from pynode.schemes import SCHEMES
from pynode.studies.crosscheck.case import Case, FlowState, Row, versions, write_case
from pynode.studies.crosscheck.loss import LossForm
from pynode.studies.crosscheck.subjects import case_subject
from tests.zoo.entries import Entry, zoo
from tests.zoo.solving import BATCH, times

MODULES = {
    # name in the zoo: what is asked of it beside a solve forward in time
    "ffjord ConcatSquashLinear": "exact",
    "hamiltonian net by autograd": "backwards",
    "weight norm": "",
    "gru by hand": "backwards",
    "pendulum": "hutchinson",
    "lotka-volterra": "",
    "layer norm by hand": "",
    "attention over columns": "backwards",
    "basis of time": "",
    "matrix per sample": "",
}
SCHEMES_RECORDED = (("euler", 2), ("rk4", 1), ("rk4", 3), ("rk38", 2))
TOLERANCES = (1e-4, 1e-8)
ADJOINTS = get_args(get_type_hints(OptDiscJulia)["adjoint"])
LOSS = LossForm("squares", shift=0.3, scale=0.25)


def entry_of(name: str) -> Entry:
    """The entry of the zoo with this name, or with the name of its file."""
    return next(e for e in zoo(captured=True) if name in (e.name, str(e)))


def case_of(name: str) -> Case:
    """The solve of a module, without rows: its tape, its constants for theta."""
    zoo_entry, asked = entry_of(name), MODULES[entry_of(name).name]
    module, y0 = zoo_entry.module(), zoo_entry.state(BATCH)
    tape = pynode.capture(module, y0)
    theta = torch.cat([p.detach().reshape(-1) for p in tape.prepare(tape.tensors_of(module))])
    ts, flow, loss = times(zoo_entry, backwards=asked == "backwards"), None, LOSS
    if asked in ("exact", "hutchinson"):
        flow, loss = FlowState(Draw(1).probes("rademacher", y0) if asked == "hutchinson" else None), LossForm("nll")
        y0 = torch.cat((y0, y0.new_zeros(len(y0), 1)), dim=1)
    return Case(str(zoo_entry), tape.after_preparation(), theta, y0, ts, loss, flow)


def recorded(name: str) -> Case:
    """The case with a row for every scheme, and for every adjoint at every tolerance."""
    case = case_of(name)
    subject = case_subject(case)

    def row(kind: str, method: GradientMethod, **settings: Any) -> Row:
        gradient = subject.gradient(method)
        return Row(kind, settings, gradient.loss, gradient.theta, gradient.y0)

    fine: dict[str, Any] = {"solver": "vern9", "rtol": 1e-12, "atol": 1e-12}
    rows = [row("reference", OptDiscJulia(**fine), **fine)]
    for adjoint in ADJOINTS:
        for rtol in TOLERANCES:
            settings: dict[str, Any] = {"adjoint": adjoint, "solver": "tsit5", "rtol": rtol, "atol": rtol / 100}
            rows.append(row("opt_disc", OptDiscJulia(**settings), **settings))
    for scheme, steps in SCHEMES_RECORDED:
        rows.append(row("disc_opt", DiscOptJulia(SCHEMES.load(scheme), steps), scheme=scheme, substeps=steps))
    made_by = {**versions(), **default_session().call("versions").value}
    return Case(case.name, case.spec, case.theta, case.y0, case.ts, case.loss_form, case.flow, tuple(rows), made_by)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for each in MODULES:
        case = recorded(each)
        write_case(case, folder / f"{case.name}.json")
        print(case.name, len(case.rows), "rows")
