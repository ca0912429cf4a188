"""Checkpoints: parameters, optimiser state and progress in one safetensors file, replaced atomically."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from pynode.errors import CheckpointMismatch, RecordError
from pynode.records.files import read_json, write_atomically

NAME = "checkpoint.safetensors"


def save_checkpoint(
    directory: Path, model: nn.Module, optimiser: torch.optim.Optimizer, progress: Mapping[str, Any], **extra: Tensor
) -> None:
    """Writes `directory`/checkpoint.safetensors: the model, the optimiser, `progress` (plain values), more tensors."""
    tensors = {f"model.{name}": p.detach() for name, p in model.named_parameters()}
    for index, slots in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{key}": value for key, value in slots.items()}
    tensors |= {f"extra.{name}": value for name, value in extra.items()}
    on_host = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    content = safetensors.torch.save(on_host, metadata={"progress": json.dumps(dict(progress))})
    write_atomically(directory / NAME, content)


def load_checkpoint(
    directory: Path, model: nn.Module, optimiser: torch.optim.Optimizer
) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """Restores model and optimiser; returns (progress, extra tensors), or None where there is no checkpoint yet.

    Raises `RecordError` for a file that can't be read or does not fit.
    """
    path = directory / NAME
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            progress = json.loads(file.metadata()["progress"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        for name, p in model.named_parameters():
            if tensors[f"model.{name}"].shape != p.shape:
                raise CheckpointMismatch(
                    f"{path}: {name} has shape {tuple(tensors[f'model.{name}'].shape)}, but the model needs "
                    f"{tuple(p.shape)}; give the data that the run was trained on"
                )
        with torch.no_grad():
            for name, p in model.named_parameters():
                p.copy_(tensors[f"model.{name}"])
        state = optimiser.state_dict()
        state["state"] = {}
        for name, value in tensors.items():
            if name.startswith("optimiser."):
                _, index, key = name.split(".", 2)
                state["state"].setdefault(int(index), {})[key] = value
        optimiser.load_state_dict(state)
    except CheckpointMismatch:
        raise
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise RecordError(f"can't read {path}: {error}; delete it to start this run again") from error
    return progress, {name.removeprefix("extra."): t for name, t in tensors.items() if name.startswith("extra.")}


def best_theta(directory: Path, problem: str) -> Tensor:
    """The best parameters `(n_params,)` of the run in `directory`; raises `RecordError`, also for another problem."""
    if (trained := read_json(directory / "config.json")["problem"]) != problem:
        raise RecordError(f"{directory} holds a run of {trained}, not of {problem}; pass one of {problem}")
    try:
        with safe_open(directory / NAME, framework="pt") as file:
            return file.get_tensor("extra.best")
    except (SafetensorError, OSError) as error:
        raise RecordError(f"can't read {directory / NAME}: {error}; is the run's first checkpoint written?") from error
