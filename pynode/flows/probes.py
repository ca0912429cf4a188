"""Random probes that depend on (seed, iteration, block, sample) alone, whatever the batch they are asked for in.

Philox (Salmon et al. 2011) is counter-based: the key holds seed and iteration, the counter sample and block, so half a
batch gets the half of the numbers that the whole batch would have got, on every device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import ndtri
from torch import Tensor

from pynode.errors import InvalidArgument
from pynode.placement import placed

Noise: TypeAlias = Literal["gaussian", "rademacher"]
NOISES: tuple[Noise, ...] = ("gaussian", "rademacher")

WORDS = 4
"""64-bit words that Philox makes of one counter."""

PROBES = 1
"""Stands in the last counter word: data are drawn from the same key with 0 there, so the two are independent."""

SAMPLES = 0x5A
"""Keeps the numbers of `sample` apart from the probes of the same seed."""


@dataclass(frozen=True)
class Draw:
    """Which probes: those of `iteration` in the run of `seed`, for the samples from `first_sample` on.

    In `flow(context, draw=...)` it fixes the samples as well.
    """

    seed: int = 0
    iteration: int = 0
    first_sample: int = 0

    def __post_init__(self) -> None:
        for argument in ("seed", "iteration", "first_sample"):
            value = getattr(self, argument)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 0 <= value < 2**64:
                raise InvalidArgument(argument, repr(value), "not an integer from 0 to 2^64 - 1", "use 0, 1, 2, ...")

    def probes(self, noise: Noise, like: Tensor, block: int = 0) -> Tensor:
        """Independent entries with mean 0 and variance 1, one row a sample, in shape, dtype and device of `like`."""
        n, dim = like.shape
        counters = -(-dim // WORDS)
        start = np.array([self.first_sample * counters, 0, block, PROBES], dtype=np.uint64)
        generator = np.random.Philox(key=philox_key(self.seed, self.iteration), counter=start)
        words = generator.random_raw(n * counters * WORDS).reshape(n, -1)[:, :dim]
        values = _gaussian(words) if noise == "gaussian" else _rademacher(words)
        return placed(values, like.device, like.dtype)

    def sample_seed(self) -> int:
        """The seed of base samples that are independent of the probes."""
        return _sample_seed(self.seed, self.iteration, self.first_sample)

    def ahead(self, noise: Noise, like: Tensor, blocks: int) -> DrawnAhead:
        """The same probes, drawn now for `blocks` blocks."""
        drawn = tuple(self.probes(noise, like, block) for block in range(blocks))
        return DrawnAhead(self.seed, self.iteration, self.first_sample, drawn)


@dataclass(frozen=True)
class DrawnAhead(Draw):
    """A draw whose probes `(batch, dim)` are there already, one tensor a block."""

    drawn: tuple[Tensor, ...] = ()

    def probes(self, noise: Noise, like: Tensor, block: int = 0) -> Tensor:  # noqa: ARG002 (chosen when drawn)
        return self.drawn[block]


def philox_key(seed: int, iteration: int) -> npt.NDArray[np.uint64]:
    """The key of all random numbers of an iteration.

    As unsigned integers: a list with a number of 2^63 or more would be rounded to floats, and streams would coincide.
    """
    return np.array([seed, iteration], dtype=np.uint64)


def _sample_seed(*words: int) -> int:
    mixed = np.random.SeedSequence([*(int(w) for w in words), SAMPLES]).generate_state(1, np.uint64)
    return int(mixed[0] >> np.uint64(1))


def _gaussian(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.float64]:
    uniform = ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    return np.asarray(ndtri(np.minimum(uniform, 1 - 2.0**-53)))  # the last one would be rounded to 1, and infinite


def _rademacher(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.float64]:
    return 2.0 * (words >> np.uint64(63)).astype(np.float64) - 1.0


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
        seed = _sample_seed(self.seed, self.samples)
        self.samples += 1
        return seed

    def state(self) -> Tensor:
        """Both counts `(2,)`, for a `state_dict`."""
        return torch.tensor([self.probes, self.samples], dtype=torch.int64)

    def restore(self, state: Tensor) -> None:
        """Goes on from the counts of `state()`."""
        self.probes, self.samples = (int(n) for n in state.tolist())
