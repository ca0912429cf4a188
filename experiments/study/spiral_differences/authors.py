"""What Onken & Ruthotto published of their spiral: losses in their pictures, and the weights that they began with."""

from __future__ import annotations

import numpy as np
import torch

from experiments.study.spiral_differences.julia_random import JuliaRandom
from pynode.fields.mlp import MLP
from pynode.types import Theta

SOURCE = (
    "pictures and scripts in Julia beside arXiv 2005.13420 (2020): each title gives the best loss so far, one run "
    "from `Random.seed!(1234)`"
)

LOSSES: dict[str, dict[int, float]] = {
    "disc-opt": {50: 10.10, 100: 1.165, 200: 0.541, 300: 0.334},
    "opt-disc": {50: 25.71, 100: 13.48, 200: 5.958, 300: 1.405},
}
"""By method and iteration: the smallest loss after at most so many updates."""

ITERATIONS = (50, 100, 200, 300)

SEED = 1234


def initial_theta(spec: MLP) -> Theta:
    """The weights of `spec` that the authors' scripts began with, `(n_params,)` float64.

    Flux's Glorot-uniform weights, drawn in Float32 layer after layer, each matrix by columns; biases are zero.
    """
    generator = JuliaRandom(SEED)
    parts = []
    for inputs, outputs in zip(spec.widths, spec.widths[1:], strict=False):
        drawn = generator.float32(outputs * inputs)
        weights = (drawn - np.float32(0.5)) * np.sqrt(np.float32(24) / np.float32(inputs + outputs))
        parts += [weights.reshape(inputs, outputs).T.ravel(), np.zeros(outputs)]
    return torch.from_numpy(np.concatenate(parts).astype(np.float64))
