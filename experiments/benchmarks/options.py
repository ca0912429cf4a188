"""Options that `bench` and `gpu` have in common, and what both of them check first."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pynode.cli import options as o
from pynode.errors import UsageError

CUDA = "cuda"

Device = Annotated[str, typer.Option(hidden=True)]
"""The device of the suite `gpu`; tests take the CPU instead of a GPU."""

Quick = Annotated[
    bool,
    typer.Option("--quick", help="Use small sizes and take few and short measurements.", rich_help_panel=o.WHAT),
]


def limit_option(help: str, least: float) -> Any:
    """An option for a time limit of at least so many seconds."""
    return typer.Option(metavar="SECONDS", min=least, help=help, rich_help_panel=o.WHERE)


class NoGpu(UsageError):
    """A command that measures a GPU was given where torch sees none."""


def check_gpu(command: str, device: str, remedy: str = "") -> None:
    """Raises `NoGpu` where `command` is to run on a CUDA device and torch sees none."""
    import torch

    if device == CUDA and not torch.cuda.is_available():
        raise NoGpu(f"{command}: torch sees no CUDA device here; run it on a machine with one{remedy}")
