"""What a recorder promises, by the stand-in for CUDA graphs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pynode.engines.graph.capture import NotRecordable
from tests.devices.recording import StandIn


def test_a_replay_reads_and_writes_the_same_tensors() -> None:
    """A replay gives what a call would give for the present values of the tensors."""
    x, y = torch.tensor([1.0, 2.0]), torch.zeros(2)
    recording = StandIn().record(lambda: y.copy_((x * x).sum() + x[1:].expand(2)))
    x.copy_(torch.tensor([3.0, 4.0]))
    recording.replay()
    assert y.tolist() == [29.0, 29.0]


def test_a_gradient_is_replayed_across_two_recordings() -> None:
    """What a forward recording saves for its gradient is read by the backward recording."""
    layer = nn.Linear(3, 3, dtype=torch.float64)
    x, v = torch.randn(4, 3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    y, gradient = torch.empty_like(x), torch.empty_like(layer.weight)
    held: list[torch.Tensor] = []

    def forward() -> None:
        held[:] = [torch.tanh(layer(x)).square()]
        y.copy_(held[0].detach())

    def backward() -> None:
        (by_weight,) = torch.autograd.grad(held[0], [layer.weight], v, retain_graph=True)
        gradient.copy_(by_weight)

    recorder = StandIn()
    recordings = [recorder.record(forward), recorder.record(backward)]
    with torch.no_grad():
        x.copy_(torch.randn(4, 3, dtype=torch.float64))
        v.copy_(torch.randn(4, 3, dtype=torch.float64))
        layer.weight.mul_(0.5)
    for recording in recordings:
        recording.replay()
    wanted = torch.tanh(layer(x)).square()
    torch.testing.assert_close(y, wanted.detach(), rtol=1e-14, atol=0)
    torch.testing.assert_close(gradient, torch.autograd.grad(wanted, layer.weight, v)[0], rtol=1e-14, atol=1e-15)


def test_tensors_that_are_to_be_kept_have_their_values() -> None:
    """Recording calls the function, but leaves the tensors named in `keeping` as they were."""
    count = torch.zeros(())
    recording = StandIn().record(lambda: count.add_(1), keeping=[count])
    assert count.item() == 0
    recording.replay()
    assert count.item() == 1


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: x.sum().item(), "the host reads"),
        (lambda x: bool(x.sum() > 0), "the host reads"),
        (lambda x: x.nonzero(), "depends on values"),
        (lambda x: nn.functional.dropout(x, 0.5), "random"),
        (lambda x: x * torch.tensor(2.0), "numbers of the host"),
        (lambda x: x.to("meta"), "between devices"),
    ],
)
def test_what_no_replay_can_repeat_is_refused(function: object, reason: str) -> None:
    """Reads by the host, results of unknown shape, random numbers and moves are refused with a reason."""
    x = torch.ones(3)
    with pytest.raises(NotRecordable, match=reason):
        StandIn().record(lambda: function(x))  # type: ignore[operator]
