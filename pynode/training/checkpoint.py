"""Checkpoints: parameters, optimiser state, progress and configuration in one safetensors file with a checksum.

The last two are kept.  Damage to the newest is detected by its SHA-256, and the one before it is used.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from pynode.errors import CheckpointMismatch, RecordError, StorageError
from pynode.records.content import LIMIT, Unreadable, check_regular, is_there, read_content
from pynode.records.files import free_name, rename, sync_directory, write_beside
from pynode.records.schema import convert, parse
from pynode.records.schema import decode as decode_text
from pynode.training.progress import Progress

NAME, PREVIOUS = "checkpoint.safetensors", "checkpoint.previous.safetensors"

ProgressCheck = Callable[[Mapping[str, Any]], object]


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds: progress and configuration as plain values, tensors by name, and the bytes themselves."""

    progress: dict[str, Any]
    config: dict[str, Any] | None
    tensors: dict[str, Tensor]
    content: bytes

    def extra(self, name: str) -> Tensor:
        """A tensor that belongs neither to the model nor to the optimiser; raises `RecordError` if it is missing."""
        if not self.has(name):
            raise RecordError(f"the checkpoint lacks extra.{name}; restore it, or delete it and resume the run")
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
    optimiser: torch.optim.Optimizer | None,
    progress: Mapping[str, Any],
    config: Mapping[str, Any],
    **extra: Tensor,
) -> bytes:
    """The content of a checkpoint file: the model, the optimiser, `progress` and `config` (plain), more tensors."""
    tensors = {f"model.{name}": p.detach() for name, p in model.named_parameters()}
    for index, slots in ({} if optimiser is None else optimiser.state_dict()["state"]).items():
        tensors |= {f"optimiser.{index}.{key}": value for key, value in slots.items()}
    tensors |= {f"extra.{name}": value for name, value in extra.items()}
    on_host = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    texts = {"progress": json.dumps(dict(progress)), "config": json.dumps(dict(config))}
    return safetensors.torch.save(on_host, metadata={**texts, "sha256": _digest(texts, on_host)})


_Header = TypedDict("_Header", {"__metadata__": dict[str, str]})
"""What the header of a file holds beside the places of its tensors."""

HEADER_BYTES = 100_000_000
"""The longest header that safetensors reads."""


def decode(content: bytes, name: str, check: ProgressCheck = Progress.from_json) -> Checkpoint:
    """What `encode` made, from the file called `name`; raises `RecordError` for content that is damaged.

    `check` raises it for a progress that is none.  A checkpoint from before there was a digest is taken as it is.
    """
    try:
        size = int.from_bytes(content[:8], "little")
        texts = convert(parse(decode_text(content[8 : 8 + size])), _Header)["__metadata__"]
        tensors = safetensors.torch.load(content)
        digest = texts.pop("sha256", None)
        earlier = set(texts) == {"progress"}  # from before there was a digest
        if digest != (None if earlier and digest is None else _digest(texts, tensors)):
            raise ValueError("its SHA-256 is another, so it was damaged")
        progress = convert(parse(texts.get("progress", "null")), dict[str, Any])
        check(progress)
        if "iteration" not in progress:
            raise ValueError("progress.iteration is missing")
        config = convert(parse(texts["config"]), dict[str, Any]) if "config" in texts else None
        return Checkpoint(progress, config, tensors, content)
    except (SafetensorError, ValueError, RuntimeError, KeyError, OverflowError, RecordError) as error:
        raise RecordError(f"can't read {name}: {error}") from error


def _digest(texts: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(texts):
        digest.update(f"{name}\0{texts[name]}\0".encode())
    for name in sorted(tensors):
        value = tensors[name].contiguous()
        digest.update(f"{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def write(directory: Path, content: bytes, *, again: bool = False) -> None:
    """Makes `content` the checkpoint in `directory`, and what was there the one before it.

    With `again` what was there is of the same iteration, and the one before it stays.  At every instant one of the two
    files is whole.  Raises `StorageError` where it can't be written.
    """
    path = directory / NAME
    try:
        beside = write_beside(path, content)
        if is_there(path) and not again:
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


def read_intact(
    directory: Path, check: ProgressCheck = Progress.from_json
) -> tuple[list[tuple[str, Checkpoint]], dict[str, RecordError]]:
    """The checkpoints in `directory` that are intact, newest first, and by name what is wrong with the others.

    Raises `RecordError` for a file that can't be read at all: that is no damage which the one before it would mend.
    """
    intact, damaged = [], {}
    for name in (NAME, PREVIOUS):
        path = directory / name
        if not is_there(path):
            continue
        try:
            content = _read(path)
        except Unreadable as error:
            raise RecordError(f"can't read {path}: {error}; mend that, then resume") from error
        try:
            intact.append((name, decode(content, str(path), check)))
        except RecordError as error:
            damaged[name] = error
    return intact, damaged


def _read(path: Path) -> bytes:
    """The content of a checkpoint; of a file that is far too long only the beginning, which is no checkpoint.

    Raises `Unreadable` where it is no regular file or can't be read.
    """
    size = check_regular(path)
    if size <= LIMIT:
        return read_content(path)
    with path.open("rb") as file:
        head = file.read(8)
        head += file.read(min(int.from_bytes(head, "little"), HEADER_BYTES))
    try:
        tensors = json.loads(head[8:])
        end = len(head) + max(int(entry["data_offsets"][1]) for name, entry in tensors.items() if name[:2] != "__")
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return head
    return read_content(path, size) if size == end else head


def set_aside(directory: Path, name: str, why: str) -> None:
    """Renames a checkpoint that is not to be taken again, so that the next one does not push out the one before it."""
    rename(directory / name, free_name(directory / f"{name}.{why}"))


def load_into(checkpoint: Checkpoint, model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Gives model and optimiser the state of `checkpoint`; raises `CheckpointMismatch`, without a change, if it does
    not fit."""
    check_fits(checkpoint, model, optimiser)
    tensors = checkpoint.tensors
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(tensors[f"model.{name}"])
    state = optimiser.state_dict()
    state["state"] = _slots(tensors)
    optimiser.load_state_dict(state)


def check_fits(checkpoint: Checkpoint, model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Raises `CheckpointMismatch` unless `checkpoint` holds the state of this model and of this Adam, whole."""
    tensors = checkpoint.tensors
    params = dict(model.named_parameters())
    for name, p in params.items():
        check_tensor(tensors, f"model.{name}", tuple(p.shape), p.dtype)
    for name in EXTRA:
        if name == "best" or checkpoint.has(name):
            check_tensor(tensors, f"extra.{name}", (sum(p.numel() for p in params.values()),), torch.float64)
    each = [p for group in optimiser.param_groups for p in group["params"]]
    slots = _slots(tensors)
    for index in slots:
        if index >= len(each):
            raise CheckpointMismatch(f"{MISFIT}: optimiser.{index} belongs to none of its {len(each)} parameters")
        for key in ADAM:
            shape, dtype = ((), torch.float32) if key == "step" else (tuple(each[index].shape), each[index].dtype)
            check_tensor(tensors, f"optimiser.{index}.{key}", shape, dtype)
    known = {f"model.{name}" for name in params} | {f"extra.{name}" for name in EXTRA}
    known |= {f"optimiser.{index}.{key}" for index in slots for key in ADAM}
    if unknown := sorted(set(tensors) - known):
        raise CheckpointMismatch(f"{MISFIT}: it has {unknown[0]}, which this run does not have; {OTHER_RUN}")


EXTRA, ADAM = ("best", "anchor"), ("step", "exp_avg", "exp_avg_sq")
"""Names of tensors beside those of the model; what Adam keeps for each parameter."""

MISFIT = "the checkpoint does not fit"
OTHER_RUN = "restore the checkpoint of this run, and give the data that it was trained on"


def check_tensor(tensors: Mapping[str, Tensor], name: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Raises `CheckpointMismatch` unless `tensors` has `name` in this shape and dtype."""
    value = tensors.get(name)
    if value is None:
        raise CheckpointMismatch(f"{MISFIT}: {name} is missing, but the run needs {shape}; {OTHER_RUN}")
    if tuple(value.shape) != shape or value.dtype != dtype:
        has, needs = (
            f"{tuple(s)} in {str(d).removeprefix('torch.')}" for s, d in ((value.shape, value.dtype), (shape, dtype))
        )
        raise CheckpointMismatch(f"{MISFIT}: {name} has shape {has}, but the run needs {needs}; {OTHER_RUN}")


def _slots(tensors: Mapping[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """What the optimiser keeps, by the index of the parameter."""
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if match := re.fullmatch(r"optimiser\.(\d{1,9})\.(\w+)", name):
            slots.setdefault(int(match[1]), {})[match[2]] = value
    return slots
