"""New random numbers at every call of a flow that names none: a seed and a count of the calls so far."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pynode.flows.probes import Draw

SAMPLES = 0x5A
"""Keeps the numbers of `sample` apart from the probes of the same seed."""


class DrawCounter:
    """The default draws of one flow: probes for `log_prob`, base samples for `sample`, each counted on its own.

    An object rather than two numbers in the flow, so that shallow copies of the flow (the replicas of
    `nn.DataParallel`) count together with it; deep copies and pickles go on by themselves from the same place.
    """

    def __init__(self, seed: int) -> None:
        self.seed, self.probes, self.samples = seed, 0, 0

    def next_draw(self) -> Draw:
        """Probes that no earlier call has used."""
        draw = Draw(self.seed, self.probes)
        self.probes += 1
        return draw

    def next_sample_seed(self) -> int:
        """A seed for base samples that no earlier call has used."""
        words = np.random.SeedSequence([self.seed, self.samples, SAMPLES]).generate_state(1, np.uint64)
        self.samples += 1
        return int(words[0] >> np.uint64(1))

    def state(self) -> Tensor:
        """Both counts `(2,)`, for a `state_dict`."""
        return torch.tensor([self.probes, self.samples], dtype=torch.int64)

    def restore(self, state: Tensor) -> None:
        """Goes on from the counts of `state()`."""
        self.probes, self.samples = (int(n) for n in state.tolist())
