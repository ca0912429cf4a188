"""A blank model differs from a first one in its parameters alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pynode.trajectories import matching
from pynode.trajectories.blank import blank_model
from pynode.trajectories.build import Prepared, first_model, prepare
from pynode.trajectories.data import Input, Trajectories
from pynode.trajectories.model import Initial
from tests.trajectories.made import series, trajectory

TIMES = np.linspace(0, 8, 40)


def swings(count: int) -> Trajectories:
    return series(*(trajectory(f"s{k}", TIMES, np.cos(TIMES + k) * (1 + 0.1 * k)) for k in range(count)))


def decays(count: int) -> Trajectories:
    shares = np.random.default_rng(0).standard_normal((count, 2)) + 3
    parts = np.exp(-TIMES[:, None] * np.array([0.4, 3.0]))
    return series(*(trajectory(f"r{k}", TIMES, 5 + parts @ (share * (1, -1))) for k, share in enumerate(shares)))


def doses(count: int) -> Trajectories:
    given = Input(np.array([0.0, 4.0]), np.array([10.0, 5.0]))
    each = [trajectory(f"d{k}", TIMES, (3 + k) * np.exp(-TIMES / 2), (given,)) for k in range(count)]
    return series(*each, kinds=("jumps",))


def prepared_of(of: Trajectories, augment: int, trained: int | None = None) -> Prepared:
    masks = [np.full(len(each.times), trained is None or k < trained) for k, each in enumerate(of.each)]
    return prepare(of, masks, augment=augment)


CASES = {
    "one column": prepared_of(swings(4), 0),
    "two trajectories": prepared_of(swings(2), 1),
    "hidden": prepared_of(swings(4), 2),
    "two decays": prepared_of(decays(12), 1),
    "few are trained": prepared_of(decays(5), 1, trained=2),
    "doses": prepared_of(doses(4), 0),
}


@pytest.mark.parametrize("initial", ["learnt", "encoded"])
@pytest.mark.parametrize("name", CASES)
def test_all_but_the_parameters_is_the_same(name: str, initial: Initial, monkeypatch: pytest.MonkeyPatch) -> None:
    first = first_model(CASES[name], 3, widths=(4,), initial=initial)
    monkeypatch.setattr(matching, "match", None)
    blank = blank_model(CASES[name], 3, widths=(4,), initial=initial)
    shapes = [{key: value.shape for key, value in model.state_dict().items()} for model in (first, blank)]
    assert shapes[0] == shapes[1]
    assert len(first.theta()) == len(blank.theta())
    for key, value in first.named_buffers():
        assert torch.equal(dict(blank.named_buffers())[key], value), key
    blank.set_theta(first.theta())
    for key, wanted in first.state_dict().items():
        assert torch.equal(blank.state_dict()[key], wanted), key
