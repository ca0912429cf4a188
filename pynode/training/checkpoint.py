"""Checkpoints: parameters, optimiser state, progress and configuration in one safetensors file with a checksum.

Two generations are kept.  A file that was damaged is noticed by its SHA-256, and the one before it taken.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from pynode.errors import CheckpointMismatch, RecordError, StorageError
from pynode.records.files import free_name, read_json, rename, sync_directory, write_beside

_log = logging.getLogger("pynode")

NAME, PREVIOUS = "checkpoint.safetensors", "checkpoint.previous.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds: plain values, tensors by name, and the bytes themselves."""

    progress: dict[str, Any]
    config: dict[str, Any] | None
    tensors: dict[str, Tensor]
    content: bytes

    def extra(self, name: str) -> Tensor:
        """A tensor that belongs neither to the model nor to the optimiser."""
        return self.tensors[f"extra.{name}"]

    def has(self, name: str) -> bool:
        """Whether there is such a tensor."""
        return f"extra.{name}" in self.tensors

    @property
    def iteration(self) -> int:
        """The next iteration."""
        return int(self.progress["iteration"])


def encode(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    progress: Mapping[str, Any],
    config: Mapping[str, Any],
    **extra: Tensor,
) -> bytes:
    """The content of a checkpoint file: the model, the optimiser, `progress` and `config` (plain), more tensors."""
    tensors = {f"model.{name}": p.detach() for name, p in model.named_parameters()}
    for index, slots in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{key}": value for key, value in slots.items()}
    tensors |= {f"extra.{name}": value for name, value in extra.items()}
    on_host = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    texts = {"progress": json.dumps(dict(progress)), "config": json.dumps(dict(config))}
    return safetensors.torch.save(on_host, metadata={**texts, "sha256": _digest(texts, on_host)})


def decode(content: bytes, name: str) -> Checkpoint:
    """What `encode` made, from the file called `name`; raises `RecordError` for content that is damaged.

    A checkpoint from before there was a digest is taken as it is.
    """
    try:
        size = int.from_bytes(content[:8], "little")
        texts = dict(json.loads(content[8 : 8 + size])["__metadata__"])
        tensors = safetensors.torch.load(content)
        digest = texts.pop("sha256", None)
        earlier = set(texts) == {"progress"}  # from before there was a digest
        if digest != (None if earlier and digest is None else _digest(texts, tensors)):
            raise ValueError("its SHA-256 is another, so it was damaged")
        progress = json.loads(texts["progress"])
        config = json.loads(texts["config"]) if "config" in texts else None
        return Checkpoint({**progress, "iteration": int(progress["iteration"])}, config, tensors, content)
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError, OverflowError, RecursionError) as error:
        raise RecordError(f"can't read {name}: {error}") from error


def _digest(texts: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    found = hashlib.sha256()
    for name in sorted(texts):
        found.update(f"{name}\0{texts[name]}\0".encode())
    for name in sorted(tensors):
        value = tensors[name].contiguous()
        found.update(f"{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        found.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def write(directory: Path, content: bytes, *, again: bool = False) -> None:
    """Makes `content` the checkpoint in `directory`, and what was there the one before it.

    With `again` what was there is of the same iteration, and the one before it stays.  At every instant one of the two
    files is whole.  Raises `StorageError` where it can't be written.
    """
    path = directory / NAME
    try:
        beside = write_beside(path, content)
        if path.exists() and not again:
            _keep_as_previous(path)
        os.replace(beside, path)
        sync_directory(directory)
    except OSError as error:
        raise StorageError(path, error) from error


def _keep_as_previous(path: Path) -> None:
    """Gives the file a second name, so that it is there under its first until the next one is."""
    second = path.with_name(f".{PREVIOUS}.tmp")
    second.unlink(missing_ok=True)
    try:
        os.link(path, second)
    except OSError:  # a file system without links: for an instant there is the previous one alone
        os.replace(path, path.with_name(PREVIOUS))
    else:
        os.replace(second, path.with_name(PREVIOUS))


def read_intact(directory: Path) -> tuple[list[tuple[str, Checkpoint]], dict[str, RecordError]]:
    """The checkpoints in `directory` that are intact, newest first, and by name what is wrong with the others.

    Raises `RecordError` for a file that can't be read at all: that is no damage which the one before it would mend.
    """
    intact, damaged = [], {}
    for name in (NAME, PREVIOUS):
        path = directory / name
        if not path.exists():
            continue
        try:
            intact.append((name, decode(path.read_bytes(), str(path))))
        except OSError as error:
            raise RecordError(f"can't read {path}: {error.strerror}; mend that, then resume") from error
        except RecordError as error:
            damaged[name] = error
    return intact, damaged


def set_aside(directory: Path, name: str, why: str) -> None:
    """Renames a checkpoint that is not to be taken again, so that the next one does not push out the one before it."""
    rename(directory / name, free_name(directory / f"{name}.{why}"))


def load_into(checkpoint: Checkpoint, model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Gives model and optimiser the state of `checkpoint`; raises `CheckpointMismatch` where it does not fit."""
    tensors = checkpoint.tensors
    for name, p in model.named_parameters():
        found = tensors.get(f"model.{name}")
        if found is None or found.shape != p.shape:
            shown = "is not there" if found is None else f"has shape {tuple(found.shape)}"
            raise CheckpointMismatch(
                f"the checkpoint does not fit: {name} {shown}, but the model needs {tuple(p.shape)}; give the data "
                "that the run was trained on"
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


def best_theta(directory: Path, problem: str) -> Tensor:
    """The best parameters `(n_params,)` of the run in `directory`; raises `RecordError`, also for another problem."""
    if (trained := read_json(directory / "config.json")["problem"]) != problem:
        raise RecordError(f"{directory} holds a run of {trained}, not of {problem}; pass one of {problem}")
    intact, damaged = read_intact(directory)
    if not intact:
        reason = next(iter(damaged.values()), "there is none; is the run's first one written?")
        raise RecordError(f"{directory} has no checkpoint that can be read: {reason}")
    if NAME in damaged:
        _log.warning("%s; the checkpoint before it is taken", damaged[NAME])
    return intact[0][1].extra("best")
