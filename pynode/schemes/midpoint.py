"""Explicit midpoint rule: two stages, order 2."""

from pynode.schemes.base import Scheme

MIDPOINT = Scheme(
    name="midpoint",
    order=2,
    a=((), (0.5,)),
    b=(0.0, 1.0),
    c=(0.0, 0.5),
)
