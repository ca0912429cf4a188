"""The pair 3(2) of Bogacki and Shampine (1989), four stages, whose last is the next step's first."""

from pynode.schemes.base import Embedded, Scheme

BOSH3 = Scheme(
    name="bosh3",
    order=3,
    a=((), (1 / 2,), (0.0, 3 / 4), (2 / 9, 1 / 3, 4 / 9)),
    b=(2 / 9, 1 / 3, 4 / 9, 0.0),
    c=(0.0, 1 / 2, 3 / 4, 1.0),
    pair=Embedded(error=(2 / 9 - 7 / 24, 1 / 3 - 1 / 4, 4 / 9 - 1 / 3, -1 / 8)),
)
