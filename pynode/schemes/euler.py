"""Euler: one stage, order 1."""

from pynode.schemes.base import Scheme

EULER = Scheme(
    name="euler",
    order=1,
    a=((),),
    b=(1.0,),
    c=(0.0,),
)
