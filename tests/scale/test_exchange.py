"""The sums that the model counts are those that Opt-Disc asks a world for; the limits of a ring's time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import pytest
import torch
from torch import Tensor

from experiments.scale.cost import Exchanges, Link, allreduce_seconds, exchanges
from experiments.scale.study import Counts, Sizes
from pynode.fields.concatsquash import ConcatSquash
from pynode.flows.divergence import Hutchinson
from pynode.flows.flow import Flow
from pynode.flows.probes import Draw
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.schemes.rk4 import RK4
from pynode.world import World, shared_among

SIZES = Sizes(ConcatSquash((3, 16, 16, 3)), 32, 2, (0.0, 1.0), "float64", Hutchinson())


@dataclass(frozen=True)
class Listener(World):
    """One of two ranks, the other of which has nothing to add; hears how many numbers each sum is of."""

    heard: list[int] = field(default_factory=list)

    def sum_(self, *tensors: Tensor) -> None:
        self.heard.append(sum(tensor.numel() for tensor in tensors))


@pytest.mark.parametrize("norm", ["mixed", "rms", "seminorm"])
@pytest.mark.parametrize("adjoint", ["backsolve", "interpolating"])
def test_what_opt_disc_exchanges(
    norm: Literal["mixed", "rms", "seminorm"], adjoint: Literal["backsolve", "interpolating"]
) -> None:
    world = Listener(0, 2)
    method = OptDisc(rtol=1e-4, atol=1e-4, adjoint_norm=norm, adjoint=adjoint, engine="eager")
    flow = Flow.build(SIZES.spec, blocks=SIZES.blocks, seed=0)
    x = torch.linspace(-1, 1, 96, dtype=torch.float64).reshape(32, 3)
    with shared_among(world):
        moved = flow.transport(x, method=method, divergence=Hutchinson(), draw=Draw(0, 0).ahead("gaussian", x, 2))
    (-moved.log_prob.mean()).backward()
    forward, backward, products = (
        float(sum(n))
        for n in zip(*((s.forward.n_f, s.backward.n_f, s.backward.n_vjp) for s in moved.solves), strict=True)
    )
    counted = exchanges(SIZES, method, Counts(forward, backward, products))
    blocks = [n for n in world.heard if n == SIZES.block_weights]
    assert counted.block_gradients == len(blocks) == (0 if norm == "seminorm" else backward)
    # beside those of the trainer: the loss
    assert counted.numbers == 1 + len(world.heard) - len(blocks)
    # a square and a count for state, adjoint, and the gradient of each weight: little beside a block
    assert max(n for n in world.heard if n != SIZES.block_weights) <= 2 * (2 + len(SIZES.spec.slots()))
    assert (counted.gradient_bytes, counted.block_bytes) == (8 * SIZES.weights, 8 * SIZES.block_weights)


def test_disc_opt_exchanges_loss_and_gradient() -> None:
    sums = exchanges(SIZES, DiscOpt(RK4), Counts(10, 0, 10))
    assert (sums.numbers, sums.block_gradients) == (1, 0)


def test_seconds_by_hand() -> None:
    host, gpus = Link(float("inf"), 1.0), Link(100.0, 0.0)
    # two messages a sum: three numbers, and one before each of the 1 + 4 sums on GPUs; these send all bytes once
    assert Exchanges(3, 1000.0, 4, 500.0).seconds(2, gpus, host) == pytest.approx(2 * (3 + 5) + 10 + 4 * 5)
    assert Exchanges(3, 1000.0, 4, 500.0).seconds(1, gpus, host) == 0


LINK = Link(bandwidth=1e9, latency=1e-5)


def test_one_rank_exchanges_nothing() -> None:
    assert allreduce_seconds(1e9, 1, LINK) == 0


def test_two_ranks_send_half_twice() -> None:
    assert allreduce_seconds(1e9, 2, Link(1e9, 0.0)) == pytest.approx(1.0)


def test_large_messages_take_twice_their_time_however_many_take_part() -> None:
    assert allreduce_seconds(1e12, 1000, LINK) == pytest.approx(2 * 1e12 / 1e9, rel=2e-3)


def test_small_messages_take_latencies() -> None:
    assert allreduce_seconds(0, 5, LINK) == pytest.approx(8 * 1e-5)


@pytest.mark.parametrize("size", [0.0, 1e3, 1e9])
def test_more_ranks_and_more_bytes_take_longer(size: float) -> None:
    times = [allreduce_seconds(size, k, LINK) for k in range(1, 65)]
    assert times == sorted(times)
    assert allreduce_seconds(2 * size, 8, LINK) >= allreduce_seconds(size, 8, LINK)
