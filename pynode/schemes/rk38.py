"""RK4 by the 3/8 rule of Kutta (torchdiffeq's `rk4`), four stages, order 4."""

from pynode.schemes.base import Scheme

RK38 = Scheme(
    name="rk38",
    order=4,
    a=((), (1 / 3,), (-1 / 3, 1.0), (1.0, -1.0, 1.0)),
    b=(1 / 8, 3 / 8, 3 / 8, 1 / 8),
    c=(0.0, 1 / 3, 2 / 3, 1.0),
)
