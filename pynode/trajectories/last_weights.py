"""The weights of a series after its last training, on all rows, which its evaluation holds."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from pynode.errors import RecordError
from pynode.types import Theta

EVALUATION = "evaluation.json"


def last_weights(directory: Path, count: int) -> Theta:
    """The `count` weights that the run in `directory` ended with; raises `RecordError` where they can't be had."""
    path = directory / EVALUATION
    remedy = "resume the run, which evaluates it again"
    try:
        final = json.loads(path.read_text(encoding="utf-8"))["series"]["forecast"]["final"]
        theta = torch.tensor(final, dtype=torch.float64)
    except OSError as error:
        raise RecordError(f"{path} can't be read ({error.strerror}); {remedy}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{path} holds no weights of a series; {remedy}") from error
    if theta.shape != (count,) or not bool(torch.isfinite(theta).all()):
        raise RecordError(f"{path} holds {theta.numel():,} weights where the model has {count:,}; {remedy}")
    return theta
