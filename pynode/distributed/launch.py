"""The environment variables that torchrun sets; where ranks on one node meet, and that they talk by loopback."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import socket
import stat
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pynode.errors import InvalidArgument, OutputDirectoryError, RankLost

REMEDY = "let torchrun set it: torchrun --nproc-per-node N experiments/run.py ..."

PAUSE = 0.02
"""Seconds between two looks for rank 0."""

FORGOTTEN = 86_400.0
"""Age in seconds after which a meeting file is stale."""


@dataclass(frozen=True)
class Launch:
    """Place of this process among all (`rank` of `size`) and on its own node (`local_rank` of `local_size`).

    `address` and `port` are where torchrun lets the ranks meet; None where nothing is said.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    address: str | None
    port: int | None

    @property
    def on_one_node(self) -> bool:
        """Whether all ranks are on this machine."""
        return self.local_size == self.size

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Launch:
        """Raises `InvalidArgument`, naming the variable, for one that is missing or makes no sense."""
        variables = os.environ if environment is None else environment
        size = _count(variables, "WORLD_SIZE", 1)
        local_size = _count(variables, "LOCAL_WORLD_SIZE", 1, size)
        rank = _count(variables, "RANK", 0, size - 1)
        local_rank = _count(variables, "LOCAL_RANK", 0, min(local_size - 1, rank))
        address = variables.get("MASTER_ADDR") or None
        if local_size < size and address is None:
            raise InvalidArgument("MASTER_ADDR", "(not set)", "the ranks are on several nodes and have to meet", REMEDY)
        port = _count(variables, "MASTER_PORT", 1, 65535) if address is not None or local_size < size else None
        return cls(rank, size, local_rank, local_size, address, port)


def asked_for(environment: Mapping[str, str] | None = None) -> bool:
    """Whether this process is one of several; raises `InvalidArgument` for a WORLD_SIZE that is no count."""
    variables = os.environ if environment is None else environment
    return "WORLD_SIZE" in variables and _count(variables, "WORLD_SIZE", 1) > 1


def _count(environment: Mapping[str, str], name: str, lowest: int, highest: int | None = None) -> int:
    shown = environment.get(name, "(not set)")
    span = f"from {lowest} to {highest}" if highest is not None else f"of {lowest} or more"
    try:
        value = int(shown)
    except ValueError:
        value = lowest - 1
    if value < lowest or (highest is not None and value > highest):
        raise InvalidArgument(name, shown, f"not a whole number {span}", REMEDY)
    return value


def stays_inside(launch: Launch) -> bool:
    """Whether nothing speaks against keeping all traffic on this machine: one node, and no address of another."""
    return launch.on_one_node and (launch.address is None or is_this_host(launch.address))


def is_this_host(address: str) -> bool:
    """Whether `address` (a name or number) is one of this machine's: only to those can a socket be bound."""
    if address in ("localhost", socket.gethostname()):
        return True
    try:
        addresses = socket.getaddrinfo(address, None, type=socket.SOCK_DGRAM)
    except OSError:  # no such name
        return False
    for family, kind, protocol, _, where in addresses:
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.bind((where[0], 0))
        except OSError:
            continue
        return True
    return False


def use_loopback() -> None:
    """Tells gloo and NCCL to stay on the loopback interface, unless the user has named one."""
    name = {"linux": "lo", "darwin": "lo0"}.get(sys.platform)
    if name is not None:
        for variable in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
            os.environ.setdefault(variable, name)


@contextmanager
def meeting_file(launch: Launch, timeout_seconds: float) -> Iterator[Path]:
    """A new file that exactly the ranks of this launch agree on, in a folder that only this user can enter.

    Rank 0 names it, in a note that lies there until the block ends; a note of a process that is dead is of a run that
    was killed, and nobody's.  Raises `RankLost` where no note appears in time.
    """
    names = ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT")
    told = [os.environ.get(name, "") for name in names]
    key = "\n".join([*told, str(launch.address), str(launch.port), str(launch.size)])
    note = private_folder() / hashlib.sha256(key.encode()).hexdigest()[:32]
    if launch.rank:
        yield note.parent / _wait_for(note, launch, timeout_seconds)
        return
    for left in note.parent.iterdir():  # by runs that were killed
        with contextlib.suppress(OSError):
            if left.stat().st_mtime < time.time() - FORGOTTEN:
                left.unlink()
    name = secrets.token_hex(16)
    draft = note.parent / f"{name}.draft"
    draft.write_text(f"{os.getpid()} {name}", encoding="ascii")
    draft.replace(note)
    try:
        yield note.parent / name
    finally:
        note.unlink(missing_ok=True)


def _wait_for(note: Path, launch: Launch, timeout_seconds: float) -> str:
    """What the note of a living process says."""
    end = time.monotonic() + timeout_seconds
    while time.monotonic() < end:
        with contextlib.suppress(FileNotFoundError):
            writer, _, name = note.read_text(encoding="ascii").partition(" ")
            if _lives(int(writer)):
                return name
        time.sleep(PAUSE)
    raise RankLost(launch.rank, launch.size, f"rank 0 did not join within {timeout_seconds:g} s")


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)  # signal 0 only asks
    except OSError:
        return False
    return True


def private_folder() -> Path:
    """A folder of this user's own among the temporary files.

    Raises `OutputDirectoryError` where somebody else has put something in its place.
    """
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    folder = Path(tempfile.gettempdir()) / f"pynode-{user}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        raise OutputDirectoryError(f"{folder}: {error.strerror}; set TMPDIR to a writable folder") from error
    mine = not hasattr(os, "getuid") or (status.st_uid == os.getuid() and not status.st_mode & 0o077)
    if not (stat.S_ISDIR(status.st_mode) and mine):
        raise OutputDirectoryError(
            f"{folder}: not a private folder of yours; remove it, or set TMPDIR to another place"
        )
    return folder
