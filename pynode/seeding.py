"""Seeds of random numbers: a given one is checked, a missing one follows torch's global generator."""

from __future__ import annotations

import operator

import torch

from pynode.errors import InvalidArgument

LARGEST = 2**63 - 1


def check_seed(seed: object) -> int:
    """`seed` as an int; raises `InvalidArgument` unless it is an integer from 0 to 2^63 - 1."""
    if not isinstance(seed, bool):
        try:
            number = operator.index(seed)  # type: ignore[arg-type]
        except TypeError:
            number = -1
        if 0 <= number <= LARGEST:
            return number
    raise InvalidArgument("seed", repr(seed), "not an integer from 0 to 2^63 - 1", "use 0, 1, 2, ...")


def seed_or_new(seed: int | None) -> int:
    """`seed`, or where it is None one drawn from torch's global generator, so that `torch.manual_seed` fixes it."""
    if seed is None:
        return int(torch.randint(LARGEST, (), dtype=torch.int64, device="cpu"))
    return check_seed(seed)
