"""Compiled CPU kernels for the dense fields: a whole solve, and a whole gradient, in one call each.

Nothing of Numba is imported before `unavailable` or the first solve asks for it, and nobody needs it: where it is
missing, or a system is none that the kernels know, the methods run by torch operators as ever.
"""

from __future__ import annotations

import platform
from functools import lru_cache
from importlib.util import find_spec

import torch

from pynode.fields.antisymmetric import Antisymmetric
from pynode.fields.base import System
from pynode.fields.concatsquash import ConcatSquash
from pynode.fields.hamiltonian import Hamiltonian
from pynode.fields.mlp import MLP
from pynode.types import State, Times

ARCHITECTURES = (MLP, ConcatSquash, Antisymmetric, Hamiltonian)
DTYPES = (torch.float64, torch.float32)

ACTIVATIONS = ("tanh", "softplus", "sigmoid", "silu", "gelu")
"""Activations that the kernels have formulas for; the first is the one that they are fastest with."""

MOST_WEIGHTS = 1 << 20
"""Entries of one matrix beyond which BLAS, which cuts matrices into pieces for the caches, is faster."""

MANY_DIMENSIONS, MANY_DIMENSIONS_ANTISYMMETRIC = 6, 16
"""Dimensions beyond which torch operators are faster by a closed form of the trace, in a large batch."""

FEW_TANGENTS = 700
"""Dimensions times samples up to which they are not."""


@lru_cache(maxsize=1)
def unavailable() -> str | None:
    """Why the kernels can't run on this machine, as a sentence; None where they can."""
    if find_spec("numba") is None:
        return "the fused engine needs Numba, which is not installed; pip install numba"
    try:
        import pynode.engines.fused.machine as machine
    except Exception as error:  # a broken LLVM shows itself in many ways
        return f"Numba's compiler can't be loaded ({type(error).__name__}: {error}); reinstall numba and llvmlite"
    if platform.machine().lower() in ("x86_64", "amd64", "i386", "i686") and not machine.HAS_FMA:
        return "the processor has no fused multiply-add (AVX2), without which the kernels do not pay"
    return None


@lru_cache(maxsize=len(DTYPES))
def failure(dtype: torch.dtype) -> str | None:
    """Makes the kernels for numbers of that type ready; says why, if they can't be compiled with the Numba installed.

    Takes some seconds on the first use on a machine, a fraction of one where they are on disk.
    """
    from pynode.engines.fused.op import make_ready

    try:
        make_ready(dtype)
    except Exception as error:  # of some release of Numba or LLVM that does things otherwise
        return f"Numba could not compile the kernels ({type(error).__name__}: {error}); use another release of it"
    return None


def applies(system: System, y0: State, ts: Times) -> bool:
    """Whether the kernels can solve `system` from `y0` `(..., columns)` at the output times `ts`.

    They know the four architectures and no subclasses of them, CPU tensors of one type, and no gradient by time; nor do
    they run inside transforms of torch.func or below torch.compile.
    """
    if unavailable() is not None or type(system.spec) not in ARCHITECTURES:
        return False
    flow, probes = system.flow, system.probes
    tensors = (y0, *system.theta) if probes is None else (y0, *system.theta, probes)
    return (
        system.spec.activation in ACTIVATIONS  # type: ignore[attr-defined]
        and y0.dtype in DTYPES
        and y0.numel() > 0
        and y0.shape[-1] == system.columns
        and not ts.requires_grad
        and all(p.shape == slot.shape for p, slot in zip(system.theta, system.spec.slots(), strict=True))
        and all(t.device.type == "cpu" and t.layout is torch.strided for t in tensors)
        and all(t.dtype == y0.dtype for t in tensors)
        and (flow is None or flow["divergence"] in ("exact", "hutchinson"))
        and (
            probes is None
            or (not probes.requires_grad and probes.numel() * system.columns == y0.numel() * _dim(system))
        )
        and not torch.compiler.is_compiling()
        and not _is_transformed()
        and failure(y0.dtype) is None
    )


def pays(system: System, y0: State) -> bool:
    """Whether the kernels are expected to be faster than torch operators, by measurements of both.

    Small systems gain tenfold and more from having no operators to start, large ones a third from having no memory to
    fill; beyond some size BLAS makes up for either.  An exact divergence takes a tangent for each dimension here, which
    loses against a closed form of the trace where there are many of them.
    """
    spec, flow = system.spec, system.flow
    if max(slot.size for slot in spec.slots()) > MOST_WEIGHTS:
        return False
    if flow is None or flow["divergence"] != "exact" or flow["jacobian"] or isinstance(spec, Hamiltonian):
        return True
    dim = spec.state_dim
    if dim * y0.numel() <= FEW_TANGENTS * system.columns:
        return True
    if isinstance(spec, Antisymmetric):
        return dim <= MANY_DIMENSIONS_ANTISYMMETRIC
    has_closed_form = isinstance(spec, (MLP, ConcatSquash)) and len(spec.widths) <= 4
    return not has_closed_form or getattr(spec, "input_power", 1) > 1 or dim <= MANY_DIMENSIONS


def _dim(system: System) -> int:
    return system.spec.state_dim


def _is_transformed() -> bool:
    """Whether a transform of torch.func is at work, whose tensors have no memory to point to."""
    active = getattr(torch._C, "_are_functorch_transforms_active", None)
    return active is not None and bool(active())
