"""The zoo is what it says: modules that users could have written, which torch evaluates and differentiates."""

from __future__ import annotations

import pytest
import torch

from tests.zoo.entries import Entry, zoo


@pytest.mark.parametrize("zoo_entry", zoo(), ids=str)
def test_an_entry_is_a_vector_field(zoo_entry: Entry) -> None:
    """Values and gradients are finite; a module built again is the same one."""
    module, twin = zoo_entry.module(), zoo_entry.module()
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), twin.parameters(), strict=True))
    for t in zoo_entry.times():
        y = zoo_entry.state(5).requires_grad_()
        value = module(t, y.clone())
        assert value.shape == y.shape
        assert value.dtype == y.dtype
        assert torch.isfinite(value).all()
        if value.requires_grad:
            sources = [y, *(p for p in module.parameters() if p.requires_grad)]
            gradients = torch.autograd.grad(value.square().sum(), sources, allow_unused=True)
            assert all(torch.isfinite(g).all() for g in gradients if g is not None)


@pytest.mark.parametrize("zoo_entry", zoo(captured=True), ids=str)
def test_what_can_be_captured_treats_samples_independently(zoo_entry: Entry) -> None:
    if zoo_entry.lead is None:
        pytest.skip("its states have no batch")
    module, t, y = zoo_entry.module(), zoo_entry.times()[1], zoo_entry.state(5)
    together, alone = module(t, y.clone()), torch.cat([module(t, row.clone()) for row in y.split(1)])
    torch.testing.assert_close(together, alone, rtol=1e-4 if y.dtype == torch.float32 else 1e-11, atol=1e-6)


def test_the_zoo_is_large() -> None:
    assert len(zoo(captured=True)) >= 100
    assert len(zoo(captured=False)) >= 25
