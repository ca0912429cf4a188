"""Heun: the explicit trapezoidal rule, two stages, order 2."""

from pynode.schemes.base import Scheme

HEUN = Scheme(
    name="heun",
    order=2,
    a=((), (1.0,)),
    b=(0.5, 0.5),
    c=(0.0, 1.0),
)
