"""Models of series after the stages that end their training."""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch

from pynode.methods.base import GradientMethod
from pynode.records.iteration import IterationRecord
from pynode.training.finishing import Finishing
from pynode.training.progress import FinishingProgress
from pynode.training.signals import Stop
from pynode.training.storage import MemoryStorage
from pynode.trajectories.build import Prepared
from pynode.trajectories.finishing import finishing_stages
from pynode.trajectories.model import SeriesModel


class Ended(NamedTuple):
    """The model after the stages on training rows, and after all of them; records, and events in sentences."""

    model: SeriesModel
    last: SeriesModel
    records: list[IterationRecord]
    events: list[str]


def ended(
    model: SeriesModel, prepared: Prepared, method: GradientMethod, evaluations: int, whole: Prepared | None = None
) -> Ended:
    """`model` after stages of at most `evaluations` gradients on rows of `prepared`, then after those on `whole`."""
    storage, own, device = MemoryStorage("made"), copy.deepcopy(model), torch.device("cpu")
    later = None if whole is None else lambda: whole
    stages = finishing_stages(prepared, later, 1.0, torch.float64, evaluations)
    finishing = Finishing(stages, own, method, storage, Stop(), device, FinishingProgress(""))
    while not finishing.ended:
        storage.append(finishing.iterate())
    last = copy.deepcopy(model)
    own.set_theta(finishing.best)
    last.set_theta(finishing.last)
    return Ended(own, last, storage.records, [f"{event.event}: {event.detail}" for event in storage.events])
