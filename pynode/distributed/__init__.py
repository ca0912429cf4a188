"""Joins the processes that torchrun starts into one world."""

from pynode.distributed.joining import join, leave
from pynode.distributed.launch import asked_for

__all__ = ["asked_for", "join", "leave"]
