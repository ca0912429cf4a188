"""The lean Adam takes torch's own steps, and leaves torch's own state."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from pynode.training.optimiser import LeanAdam, make_adam


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).double()


def loss_of(net: nn.Module, i: int) -> Tensor:
    x = torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(i))
    return net(x).square().mean()


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_steps_are_torchs_own(weight_decay: float, dtype: torch.dtype) -> None:
    """Bit for bit, over parameter groups, changing rates and a parameter without a gradient for a while."""
    nets = [model().to(dtype) for _ in range(2)]
    makers = (make_adam, lambda groups, lr, decay: torch.optim.Adam(groups, lr=lr, weight_decay=decay, fused=True))
    optimisers = [
        make(
            [{"params": list(net[0].parameters())}, {"params": list(net[2].parameters()), "weight_decay": 0.0}],
            0.1,
            weight_decay,
        )
        for net, make in zip(nets, makers, strict=True)
    ]
    for i in range(20):
        for net, optimiser in zip(nets, optimisers, strict=True):
            x = torch.randn(7, 3, dtype=dtype, generator=torch.Generator().manual_seed(i))
            net(x).square().mean().backward()
            if i < 5:
                net[2].bias.grad = None
            for group in optimiser.param_groups:
                group["lr"] = 0.1 / (1 + i)
            optimiser.step()
            optimiser.zero_grad()
            assert all(p.grad is None for p in net.parameters())
    for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(a, b)
    lean, plain = (o.state_dict() for o in optimisers)
    assert lean["state"].keys() == plain["state"].keys()
    for key, mine in lean["state"].items():
        for name, value in mine.items():
            assert torch.equal(value, plain["state"][key][name]), (key, name)


def test_state_goes_through_a_checkpoint() -> None:
    """Either way between the lean and torch's own optimiser."""
    net = model()
    optimiser = make_adam(net.parameters(), 0.05)
    for i in range(3):
        loss_of(net, i).backward()
        optimiser.step()
        optimiser.zero_grad()
    other = copy.deepcopy(net)
    loaded = torch.optim.Adam(other.parameters(), lr=0.05, fused=True)
    loaded.load_state_dict(optimiser.state_dict())
    back = make_adam(net.parameters(), 0.05)
    back.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    for each, adam in ((net, back), (other, loaded)):
        loss_of(each, 9).backward()
        adam.step()
    for a, b in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_what_is_beyond_it_is_torchs() -> None:
    """A closure, and gradients set to zero."""
    net = model()
    optimiser = make_adam(net.parameters(), 0.05)
    assert isinstance(optimiser, LeanAdam)

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = loss_of(net, 0)
        loss.backward()
        return loss

    before = float(loss_of(net, 0).detach())
    assert float(optimiser.step(closure).detach()) == pytest.approx(before)
    assert float(loss_of(net, 0).detach()) < before
    optimiser.zero_grad(set_to_none=False)
    assert all(p.grad is not None and not p.grad.any() for p in net.parameters())
