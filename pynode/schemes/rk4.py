"""RK4: the classical rule of Kutta, four stages, order 4."""

from pynode.schemes.base import Scheme

RK4 = Scheme(
    name="rk4",
    order=4,
    a=((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)),
    b=(1 / 6, 1 / 3, 1 / 3, 1 / 6),
    c=(0.0, 0.5, 0.5, 1.0),
)
