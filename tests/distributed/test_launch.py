"""What torchrun says is checked before anything starts, and a private meeting place stays private."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pynode.distributed import asked_for, join
from pynode.distributed.launch import Launch, is_this_host, meeting_file, private_folder, stays_inside
from pynode.errors import InvalidArgument, OutputDirectoryError, RankLost
from pynode.world import ALONE

GOOD = {
    "RANK": "1",
    "WORLD_SIZE": "3",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "3",
    "MASTER_ADDR": "localhost",
    "MASTER_PORT": "29500",
}


def put(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    """This process's environment as torchrun would leave it."""
    for name in GOOD:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def test_a_good_environment_is_read() -> None:
    """All of torchrun's variables, as numbers."""
    assert Launch.from_environment(GOOD) == Launch(1, 3, 1, 3, "localhost", 29500)


def test_ranks_of_one_node_need_no_address() -> None:
    """They meet in a file."""
    launch = Launch.from_environment({k: v for k, v in GOOD.items() if not k.startswith("MASTER")})
    assert (launch.address, launch.port) == (None, None)
    assert stays_inside(launch)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RANK", None),
        ("RANK", "3"),
        ("RANK", "-1"),
        ("RANK", "one"),
        ("WORLD_SIZE", "0"),
        ("WORLD_SIZE", "many"),
        ("WORLD_SIZE", ""),
        ("LOCAL_RANK", None),
        ("LOCAL_RANK", "2"),  # beyond the global rank 1
        ("LOCAL_WORLD_SIZE", None),
        ("LOCAL_WORLD_SIZE", "4"),
        ("MASTER_PORT", None),
        ("MASTER_PORT", "0"),
        ("MASTER_PORT", "65536"),
    ],
)
def test_nonsense_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str | None) -> None:
    """The message names the variable, its value, and who should set it; nothing has started by then."""
    environment = {k: v for k, v in GOOD.items() if k != name}
    put(monkeypatch, environment if value is None else {**environment, name: value})
    with pytest.raises(InvalidArgument, match=f"^{name} = {value if value is not None else r'.not set.'}: .*torchrun"):
        join("cpu", 1.0)


def test_several_nodes_need_an_address() -> None:
    """Nobody could guess where to meet."""
    environment = {k: v for k, v in GOOD.items() if k != "MASTER_ADDR"} | {"LOCAL_WORLD_SIZE": "2"}
    with pytest.raises(InvalidArgument, match=r"^MASTER_ADDR = \(not set\)"):
        Launch.from_environment(environment)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf"), "ten"])
def test_a_time_limit_is_a_positive_number(seconds: float) -> None:
    """Refused even where there is nobody to wait for."""
    with pytest.raises(InvalidArgument, match="--rank-timeout"):
        join("cpu", seconds)


def test_one_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without torchrun, or with one rank of it, nothing is joined."""
    put(monkeypatch, {})
    assert not asked_for()
    assert join() is ALONE
    put(monkeypatch, {**GOOD, "RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"})
    assert not asked_for()
    assert join() is ALONE


def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each rank needs one of its own."""
    put(monkeypatch, {**GOOD, "WORLD_SIZE": "99", "LOCAL_WORLD_SIZE": "99", "RANK": "98", "LOCAL_RANK": "98"})
    with pytest.raises(InvalidArgument, match="LOCAL_RANK = 98: this node has"):
        join("cuda", 1.0)


def test_this_host_by_its_names_and_numbers() -> None:
    """An address of the documentation range is nobody's."""
    assert is_this_host("localhost")
    assert is_this_host("127.0.0.1")
    assert is_this_host(socket.gethostname())
    assert not is_this_host("192.0.2.1")
    assert not is_this_host("no-such-host.invalid")


def test_traffic_leaves_the_machine_only_when_told() -> None:
    """Another node, or another machine's address."""
    assert stays_inside(Launch.from_environment(GOOD))
    assert not stays_inside(Launch.from_environment({**GOOD, "MASTER_ADDR": "192.0.2.1"}))
    assert not stays_inside(Launch.from_environment({**GOOD, "LOCAL_WORLD_SIZE": "2"}))


def test_ranks_of_one_launch_meet_where_no_other_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Rank 0 chooses a new place; another restart, another run, or a later time has another."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    here = Launch.from_environment(GOOD)
    first, places = replace(here, rank=0, local_rank=0), []
    for name, value in (("RESTART_COUNT", "0"), ("RESTART_COUNT", "1"), ("RUN_ID", "x"), ("RUN_ID", "x")):
        monkeypatch.setenv(f"TORCHELASTIC_{name}", value)
        with meeting_file(first, 1.0) as chosen, meeting_file(here, 1.0) as told:
            assert chosen == told
            assert told.parent == private_folder()
            with pytest.raises(RankLost, match="rank 0 did not join"), meeting_file(replace(here, port=1), 0.1):
                pass
        places.append(told)
    assert len(set(places)) == 4
    assert list(private_folder().iterdir()) == []


def test_what_a_killed_run_left_is_nobodys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A note of a dead process is not followed; old files go."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    here = Launch.from_environment(GOOD)
    with meeting_file(replace(here, rank=0, local_rank=0), 1.0):
        (note,) = private_folder().iterdir()
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait()
        note.write_text(f"{ended.pid} left", encoding="ascii")
        with (
            pytest.raises(RankLost, match=r"rank 1 of 3: .*rank 0 did not join within 0\.1 s"),
            meeting_file(here, 0.1),
        ):
            pass
    old, recent = private_folder() / "old", private_folder() / "recent"
    for path in (old, recent):
        path.touch()
    os.utime(old, (0, 0))
    with meeting_file(replace(here, rank=0, local_rank=0), 1.0):
        assert recent.exists()
        assert not old.exists()


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="folders of Windows have no owner's bits")
def test_a_meeting_place_is_private(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only the user may enter; a folder that others may enter, or a link, is not used."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = private_folder()
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o755)
    with pytest.raises(OutputDirectoryError, match="not a private folder of yours"):
        private_folder()
    folder.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputDirectoryError, match="not a private folder of yours"):
        private_folder()
