"""Digits: scikit-learn's 1,797 handwritten digits of 8 x 8 pixels with 17 levels, made continuous for a flow.

A pixel x in 0..16 becomes y = (x + u) / 17 with u uniform in [0, 1), then z = logit(p) with p = a + (1 - 2 a) y and
a = 0.05, so that no pixel goes to infinity.  For a density p_Z of z, the density of the dequantised image x + u is

    log p_X(x + u) = log p_Z(z) + sum over pixels of [log(1 - 2 a) - log 17 - log p - log(1 - p)]

where the sum is the image's offset, and the mean over images of  -log p_X / (64 log 2)  is an upper bound on the bits
per dimension of the best model of the 17-level images that the flow stands for.  A uniform density has log2 17 = 4.09.
Pixels that are 0 in each image vary after dequantisation, between 0 and 1/17.
"""

from __future__ import annotations

import math

import numpy as np

from pynode.datasets.errors import optional
from pynode.datasets.splits import PARTS, Array, Splits, cut

LEVELS = 17
PIXELS = 64
MARGIN = 0.05


def digits(seed: int = 0) -> Splits:
    """The images `(rows, 64)`, dequantised, as logits, shuffled and cut as a user's table; all by `seed`.

    `offsets` has the sum above by part, `(rows,)` in nats.  Raises `PackageMissing` without scikit-learn.
    """
    loaded = optional("sklearn.datasets", "scikit-learn", "the data set digits").load_digits()
    images = np.asarray(loaded.data, dtype=np.float64)
    generator = np.random.default_rng(seed)
    images = images[generator.permutation(len(images))]
    logits, offsets = to_logits(images, generator.random(images.shape))
    train, validation, test = cut(logits.astype(np.float32))
    by_part = dict(zip(PARTS, cut(offsets), strict=True))
    return Splits("digits", train, validation, test, offsets=by_part)


def to_logits(images: Array, noise: Array) -> tuple[Array, Array]:
    """Logits `(rows, 64)` of the levels `images` 0..16 with `noise` in [0, 1), and their offsets `(rows,)` in nats."""
    squeezed = MARGIN + (1 - 2 * MARGIN) * (images + noise) / LEVELS
    log_p, log_q = np.log(squeezed), np.log1p(-squeezed)
    per_pixel = math.log(1 - 2 * MARGIN) - math.log(LEVELS) - log_p - log_q
    return log_p - log_q, per_pixel.sum(axis=1)


def to_levels(logits: Array) -> Array:
    """Images `(rows, 64)` of the levels 0..16, as integers, from logits; outliers go to the nearest."""
    probabilities = 1 / (1 + np.exp(-np.asarray(logits, dtype=np.float64)))
    levels = np.floor((probabilities - MARGIN) / (1 - 2 * MARGIN) * LEVELS)
    return np.clip(levels, 0, LEVELS - 1).astype(np.int64)
