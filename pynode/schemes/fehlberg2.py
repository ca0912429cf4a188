"""The pair 2(1) of Fehlberg (1969), three stages, as torchdiffeq has it."""

from pynode.schemes.base import Embedded, Scheme

FEHLBERG2 = Scheme(
    name="fehlberg2",
    order=2,
    a=((), (1 / 2,), (1 / 256, 255 / 256)),
    b=(1 / 512, 255 / 256, 1 / 512),
    c=(0.0, 1 / 2, 1.0),
    pair=Embedded(error=(-1 / 512, 0.0, 1 / 512)),
)
