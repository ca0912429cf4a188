"""Compiled CPU kernels for dense fields and tapes: a whole solve, and a whole gradient, in one call each.

Numba is optional, and imported only when `unavailable` or the first solve asks for it: where it is
missing, or the kernels do not support a system, the methods run on torch operators.
"""

from __future__ import annotations

import math
import platform
from functools import lru_cache
from importlib.util import find_spec

import torch

from pynode.fields.antisymmetric import Antisymmetric
from pynode.fields.base import FieldSpec, System
from pynode.fields.concatsquash import ConcatSquash
from pynode.fields.hamiltonian import Hamiltonian
from pynode.fields.mlp import MLP
from pynode.tapes.tape import Tape
from pynode.transforms import is_transformed
from pynode.types import State, Times

ARCHITECTURES = (MLP, ConcatSquash, Antisymmetric, Hamiltonian, Tape)
DTYPES = (torch.float64, torch.float32)

ACTIVATIONS = ("tanh", "softplus", "sigmoid", "silu", "gelu")
"""Activations that the kernels have formulas for; the first is the one that they are fastest with."""

NO_GRADIENT_BY_TIMES = "the kernels give no gradient by the output times"

MOST_WEIGHTS = 1 << 20
"""Entries of one matrix beyond which BLAS, which cuts matrices into pieces for the caches, is faster."""

MANY_WEIGHTS, FEW_ROWS = 150_000, 16
"""Entries of all matrices of a tape beyond which BLAS is faster in a batch of more than so many samples."""

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
        from llvmlite import binding

        features = binding.get_host_cpu_features()
    except Exception as error:  # a broken LLVM shows itself in many ways
        return f"Numba's compiler can't be loaded ({type(error).__name__}: {error}); reinstall numba and llvmlite"
    if platform.machine().lower() in ("x86_64", "amd64", "i386", "i686") and not features.get("fma"):
        return "the processor has no fused multiply-add (AVX2), without which the kernels do not pay"
    return None


@lru_cache(maxsize=4 * len(DTYPES))
def failure(dtype: torch.dtype, adaptive: bool = False, is_program: bool = False) -> str | None:
    """Makes the kernel for fixed or adaptive steps and numbers of that type ready; says why, if it can't be compiled.

    Fields that are programs have a kernel of their own.

    Takes some seconds on the first use on a machine, a fraction of one where it is on disk.
    """
    from pynode.engines.fused import calls

    try:
        calls.make_ready(dtype, adaptive, is_program)
    except Exception as error:  # of some release of Numba or LLVM that does things otherwise
        return f"Numba could not compile the kernels ({type(error).__name__}: {error}); use another release of it"
    return None


def obstacle(system: System, y0: State, ts: Times) -> str | None:
    """Why the kernels can't solve `system` from `y0` `(..., columns)` at the output times `ts`; None where they can.

    They know the four architectures and no subclasses of them, tapes, CPU tensors of one type, and no gradient by time;
    nor do they run inside transforms of torch.func, autocast or below torch.compile.
    """
    spec, flow, probes, dtype = system.spec, system.flow, system.probes, y0.dtype
    if type(spec) not in ARCHITECTURES:
        return f"the kernels know no {type(spec).__name__}"
    is_tape = isinstance(spec, Tape)
    if not is_tape and spec.activation not in ACTIVATIONS:  # type: ignore[attr-defined]
        return f"the kernels know no activation {spec.activation}"  # type: ignore[attr-defined]
    if dtype not in DTYPES:
        return f"the kernels know no {dtype}"
    if y0.numel() == 0 or y0.shape[-1:] != (system.columns,):
        return f"a state of shape {tuple(y0.shape)} is none of {system.columns} columns"
    if ts.requires_grad:
        return NO_GRADIENT_BY_TIMES
    for p in system.theta:
        if type(p) is not torch.nn.Parameter and not is_tape:
            return "the parameters are functions of other tensors, which autograd has to follow"
    for tensor in (y0, *system.theta) if probes is None else (y0, *system.theta, probes):
        if type(tensor) is not torch.Tensor and type(tensor) is not torch.nn.Parameter:
            return f"the kernels can't read a {type(tensor).__name__}"
        if tensor.device.type != "cpu" or tensor.layout is not torch.strided or tensor.dtype is not dtype:
            return f"the kernels need dense {dtype} tensors on the CPU, not {tensor.dtype} on {tensor.device}"
    if not _has_shapes(spec, system.theta):
        return "the parameters have other shapes than the specification says"
    if flow is not None and flow["divergence"] not in ("exact", "hutchinson"):
        return f"the kernels know no divergence {flow['divergence']}"
    if flow is not None and flow["divergence"] == "hutchinson" and probes is None:
        return "Hutchinson's estimator has no probes"
    if probes is not None and (probes.requires_grad or probes.numel() * system.columns != y0.numel() * spec.state_dim):
        return "the probes want a gradient, or are not one for each sample"
    traced = torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None
    if traced or is_transformed() or torch.is_autocast_enabled("cpu"):
        return "the kernels don't run under torch.compile, torch.jit.trace, autocast or transforms of torch.func"
    return None


def _has_shapes(spec: FieldSpec, theta: tuple[torch.Tensor, ...]) -> bool:
    """Whether theta's tensors have the shapes of the specification; constants of a tape may have any of their size."""
    if not isinstance(spec, Tape):
        return all(p.shape == shape for p, shape in zip(theta, _shapes(spec), strict=True))
    constants = spec.constants
    return len(theta) == len(constants) and all(
        p.numel() == math.prod(c.shape) for p, c in zip(theta, constants, strict=True)
    )


@lru_cache(maxsize=64)
def _shapes(spec: FieldSpec) -> tuple[tuple[int, ...], ...]:
    return tuple(slot.shape for slot in spec.slots())


def pays(system: System, y0: State, architecture: FieldSpec | None = None) -> bool:
    """Whether the kernels are expected to be faster than torch operators, by measurements of both.

    Small systems gain tenfold and more from having no operators to start, large ones a third from having no memory to
    fill; beyond some size BLAS makes up for either.  An exact divergence takes a tangent for each dimension here, which
    loses against a closed form of the trace where there are many of them.  `architecture` is what a tape was captured
    from, where torch operators know more of it than of a module.
    """
    spec, flow = architecture or system.spec, system.flow
    if _largest(spec) > MOST_WEIGHTS:
        return False
    if isinstance(spec, Tape):
        rows = y0.numel() // system.columns
        return flow is not None or rows <= FEW_ROWS or _weights(spec) <= MANY_WEIGHTS
    if flow is None or flow["divergence"] != "exact" or flow["jacobian"] or isinstance(spec, Hamiltonian):
        return True
    dim = spec.state_dim - spec.context_dim
    if dim * y0.numel() <= FEW_TANGENTS * system.columns:
        return True
    if isinstance(spec, Antisymmetric):
        return dim <= MANY_DIMENSIONS_ANTISYMMETRIC
    has_closed_form = isinstance(spec, (MLP, ConcatSquash)) and len(spec.widths) <= 4
    return not has_closed_form or getattr(spec, "input_power", 1) > 1 or dim <= MANY_DIMENSIONS


@lru_cache(maxsize=64)
def _weights(tape: Tape) -> int:
    return sum(math.prod(c.shape) for c in tape.constants if c.is_matrix)


@lru_cache(maxsize=64)
def _largest(spec: FieldSpec) -> int:
    if isinstance(spec, Tape):
        return max((math.prod(c.shape) for c in spec.constants if c.is_matrix), default=0)
    return max(slot.size for slot in spec.slots())
