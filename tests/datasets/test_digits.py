"""Digits: dequantised, as logits, with the offsets that give bits per dimension."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from pynode.datasets.digits import digits, to_levels, to_logits
from pynode.datasets.errors import PackageMissing
from pynode.flows.metrics import bits_per_dim

PARTS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def images() -> Any:
    return pytest.importorskip("sklearn.datasets").load_digits().data


def test_parts(images: Any) -> None:
    splits = digits(seed=3)
    assert [getattr(splits, part).shape for part in PARTS] == [(1457, 64), (161, 64), (179, 64)]
    assert [splits.offsets[part].shape for part in PARTS] == [(1457,), (161,), (179,)]
    levels = np.vstack([to_levels(getattr(splits, part)) for part in PARTS])
    order = np.random.default_rng(3).permutation(1797)
    np.testing.assert_array_equal(levels, images[order])


def test_all_pixels_vary(images: Any) -> None:
    assert (images.std(axis=0) == 0).any()  # the corners are always empty
    splits = digits()
    assert splits.train.std(axis=0).min() > 0.05
    assert np.isfinite(splits.train).all()


def test_seed() -> None:
    np.testing.assert_array_equal(digits(1).train, digits(1).train)
    assert np.abs(digits(1).train - digits(2).train).max() > 1


def test_offset_is_the_log_determinant() -> None:
    levels, noise, eps = np.arange(17.0)[None, :], np.linspace(0.01, 0.98, 17)[None, :], 1e-6
    logits, offset = to_logits(levels, noise)
    above, below = to_logits(levels, noise + eps)[0], to_logits(levels, noise - eps)[0]
    assert offset[0] == pytest.approx(np.log((above - below) / (2 * eps)).sum(), abs=1e-6)
    np.testing.assert_array_equal(to_levels(logits), levels)


def test_hand_computed_value() -> None:
    """The middle, y = 1/2: z = 0, dz/dx = 4 * 0.9 / 17."""
    logits, offset = to_logits(np.array([[8.0]]), np.array([[0.5]]))
    assert logits[0, 0] == pytest.approx(0, abs=1e-15)
    assert offset[0] == pytest.approx(np.log(3.6 / 17), rel=1e-14)


def test_bits_of_a_uniform_density() -> None:
    """Uniform on the 17 levels costs log2 17 bits, whatever the image."""
    images = np.random.default_rng(0).integers(0, 17, size=(5, 64)).astype(float)
    _, offsets = to_logits(images, np.random.default_rng(1).random((5, 64)))
    log_density = -offsets - 64 * np.log(17)  # uniform in x + u, carried over to the logits
    bits = [bits_per_dim(-log_p, 64, offset) for log_p, offset in zip(log_density, offsets, strict=True)]
    np.testing.assert_allclose(bits, np.log2(17), rtol=1e-13)


def test_samples_outside_go_to_the_nearest_level() -> None:
    np.testing.assert_array_equal(to_levels(np.array([[-30.0, 30.0]])), [[0, 16]])


def test_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(PackageMissing, match="pip install scikit-learn"):
        digits()
