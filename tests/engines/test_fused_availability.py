"""When the kernels are there, what they are for, and that nothing needs them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from pynode.engines import fused
from pynode.fields.antisymmetric import Antisymmetric
from pynode.fields.base import Field, System, system_of
from pynode.fields.concatsquash import ConcatSquash
from pynode.fields.hamiltonian import Hamiltonian
from pynode.fields.mlp import MLP
from pynode.flows.augmented import AugmentedField, RunningCosts
from pynode.flows.divergence import divergence

TS = torch.tensor([0.0, 1.0], dtype=torch.float64)
Y0 = torch.zeros(3, 2, dtype=torch.float64)


def applies(system: System, y0: Tensor, ts: Tensor) -> bool:
    """Whether nothing stands in the kernels' way."""
    obstacles = (fused.unavailable(), fused.obstacle(system, y0, ts), fused.failure(y0.dtype))
    return all(reason is None for reason in obstacles)


@pytest.fixture
def no_numba(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if Numba were not installed."""
    fused.unavailable.cache_clear()
    monkeypatch.setattr(fused, "find_spec", lambda name: None)
    yield
    fused.unavailable.cache_clear()


def field() -> Field:
    return MLP((2, 4, 2)).build(seed=0)


def flow(kind: str, spec: ConcatSquash | MLP | Antisymmetric | Hamiltonian, jacobian: bool = False) -> System:
    dim = spec.state_dim
    probes = None if kind == "exact" else torch.ones(3, dim, dtype=torch.float64)
    return system_of(AugmentedField(spec.build(seed=0), dim, divergence(kind), probes, RunningCosts(False, jacobian)))


def test_numba_is_imported_by_use_alone() -> None:
    """Not with pynode, nor by asking what the engine could do."""
    code = (
        "import sys, pynode, pynode.engines.fused as f; assert 'numba' not in sys.modules; "
        "f.unavailable(); assert 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_numba(no_numba: None) -> None:  # noqa: ARG001
    """The reason names the remedy, and nothing applies."""
    assert "pip install numba" in str(fused.unavailable())
    assert not applies(system_of(field()), Y0, TS)


def test_a_compiler_that_fails(needs_fused: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    """Is no reason for anybody's solve to fail."""
    from pynode.engines.fused import calls

    def fail(dtype: torch.dtype, adaptive: bool, is_program: bool) -> None:  # noqa: ARG001
        raise RuntimeError(f"no code for {dtype}")

    monkeypatch.setattr(calls, "make_ready", fail)
    fused.failure.cache_clear()
    try:
        assert "no code for torch.float64" in str(fused.failure(torch.float64))
        assert not applies(system_of(field()), Y0, TS)
    finally:
        fused.failure.cache_clear()


def test_what_applies(needs_fused: None) -> None:  # noqa: ARG001
    """Fields and flows with both divergences, float64 and float32, frozen parameters, single states."""
    system = system_of(field())
    assert applies(system, Y0, TS)
    assert applies(system, Y0[0], TS)
    assert applies(system_of(field().requires_grad_(False)), Y0, TS)
    assert applies(system_of(field().float()), Y0.float(), TS)
    state = torch.zeros(3, 3, dtype=torch.float64)
    for kind in ("exact", "gaussian"):
        assert applies(flow(kind, ConcatSquash((2, 4, 2))), state, TS)


@dataclass(frozen=True)
class Doubled(MLP):
    """A user's own variation of an architecture."""


def test_what_does_not_apply(needs_fused: None) -> None:  # noqa: ARG001
    """Whatever the kernels would get wrong."""
    system = system_of(field())
    cases: list[tuple[System, Tensor, Tensor]] = [
        (system, Y0, TS.clone().requires_grad_()),
        (system, Y0.float(), TS),
        (system, Y0.half(), TS),
        (system, Y0[:0], TS),
        (system, torch.zeros(3, 5, dtype=torch.float64), TS),
        (system_of(Doubled((2, 4, 2)).build(seed=0)), Y0, TS),
        (system_of(field().float()), Y0, TS),
        (system, Y0.to("meta"), TS),
        (replace(system, theta=tuple(p.reshape(1, *p.shape) for p in system.theta)), Y0, TS),
    ]
    probed = flow("gaussian", ConcatSquash((2, 4, 2)))
    state = torch.zeros(3, 3, dtype=torch.float64)
    assert probed.probes is not None
    cases += [
        (replace(probed, probes=probed.probes.clone().requires_grad_()), state, TS),
        (replace(probed, probes=probed.probes[:2]), state, TS),
    ]
    for case in cases:
        assert not applies(*case), case
    assert torch.func.vmap(lambda y: y + int(applies(system, Y0, TS)))(Y0).sum() == 0


def test_what_pays() -> None:
    """Small and middle sizes; not where torch has a closed form of the trace, or BLAS its own sizes."""

    def pays(system: System, batch: int = 256) -> bool:
        return fused.pays(system, torch.zeros(batch, system.columns))

    assert pays(system_of(MLP((2, 50, 2), input_power=3).build(seed=0)))
    assert pays(flow("exact", ConcatSquash((2, 64, 64, 64, 2))))
    assert pays(flow("gaussian", ConcatSquash((43, 64, 64, 43))))
    assert pays(flow("exact", Hamiltonian(20, 5)))
    assert not pays(system_of(MLP((2, 1500, 1500, 2)).build(seed=0)))
    assert not pays(flow("exact", ConcatSquash((43, 64, 64, 43))))
    assert pays(flow("exact", ConcatSquash((43, 64, 64, 43))), batch=4)
    assert pays(flow("exact", MLP((43, 64, 64, 64, 43))))
    assert pays(flow("exact", MLP((43, 64, 64, 43), input_power=2)))
    assert not pays(flow("exact", Antisymmetric(40)))
    assert pays(flow("exact", Antisymmetric(40), jacobian=True))
