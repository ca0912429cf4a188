"""Heun: the explicit trapezoidal rule, two stages, order 2; with Euler it is torchdiffeq's pair `adaptive_heun`."""

from pynode.schemes.base import Embedded, Scheme

HEUN = Scheme(
    name="heun",
    order=2,
    a=((), (1.0,)),
    b=(0.5, 0.5),
    c=(0.0, 1.0),
    pair=Embedded(error=(0.5, -0.5), solver="adaptive_heun"),
)
