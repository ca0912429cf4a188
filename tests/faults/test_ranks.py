"""Training that torchrun starts on two ranks: the numbers of one process, through lost ranks and resumptions."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pynode.records.events import EVENTS, Event
from pynode.records.files import read_lines
from tests.faults.conftest import ROOT, RUN, Ended, ended, environment, run, untimed, wait_for_records

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="torchrun's loopback rendezvous needs POSIX"),
]

SMALL = ["--no-checks", "--validate-every", "20", "--checkpoint-every", "10", "--set", "hidden=16,16"]
EXACT = ["compare", "8gaussians", *SMALL, "--methods", "disc-opt,opt-disc", "--engine", "eager", "--set", "batch=33"]
LABELS = {"disc-opt": "disc-opt-rk38-x10-seed0", "opt-disc": "opt-disc-dopri5-rtol1e-05-seed0"}


def launch(*arguments: str, restarts: int = 0, group: bool = False) -> subprocess.Popen[str]:
    """Starts a command on two ranks of this machine; nothing listens on an outside interface."""
    meeting = ["--rdzv-backend", "c10d", "--rdzv-conf", "store_type=file", "--rdzv-endpoint"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *meeting]
    where = str(Path(arguments[arguments.index("--out") + 1]).parent / f"meeting-{time.monotonic_ns()}")
    return subprocess.Popen(
        [*launcher, where, "--max-restarts", str(restarts), str(RUN), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**environment(), "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"},
        cwd=ROOT,
        start_new_session=group,
    )


def on_two(*arguments: str) -> Ended:
    """Runs a command on two ranks to its end."""
    return ended(launch(*arguments), timeout=240)


def losses(out: Path, label: str) -> list[float]:
    """The loss of every iteration."""
    return [r["loss"] for r in untimed(out, label)]


def ranks_of(launcher: subprocess.Popen[str]) -> list[int]:
    """Process ids of the ranks, the first one first."""
    by_rank: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            variables = dict(v.split("=", 1) for v in (folder / "environ").read_text().split("\0") if "=" in v)
        except (OSError, ValueError, IndexError):
            continue
        if parent == launcher.pid and "RANK" in variables:
            by_rank[int(variables["RANK"])] = int(folder.name)
    return [by_rank[rank] for rank in sorted(by_rank)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifty iterations in one process."""
    out = tmp_path_factory.mktemp("alone") / "out"
    run(*EXACT, "--iterations", "50", "--out", str(out), timeout=240).check()
    return out


def test_two_ranks_give_the_numbers_of_one(tmp_path: Path, alone: Path) -> None:
    """Exact divergence, an odd batch, both methods; then one process goes on, then two ranks again."""
    out = str(tmp_path / "out")
    on_two(*EXACT, "--iterations", "20", "--out", out).check()
    run(*EXACT, "--iterations", "35", "--out", out, "--resume", timeout=240).check()
    end = on_two(*EXACT, "--iterations", "50", "--out", out, "--resume").check()
    assert end.said.count("RQ1 Quality and cost") == 1, "one rank speaks"
    for label in LABELS.values():
        records, expected = untimed(tmp_path / "out", label), untimed(alone, label)
        assert [r["ranks"] for r in records] == [2] * 20 + [1] * 15 + [2] * 15
        np.testing.assert_allclose(
            [r["loss"] for r in records], [r["loss"] for r in expected], rtol=1e-10, err_msg=label
        )
        for name in ("nfe_forward", "nfe_backward", "n_vjp_backward", "n_accepted_backward"):
            assert [r[name] for r in records] == [r[name] for r in expected], name


def test_hutchinson_on_two_ranks(tmp_path: Path) -> None:
    """Probes belong to the sample, whichever rank has it."""
    table = tmp_path / "table.npy"
    np.save(table, np.random.default_rng(0).standard_normal((400, 5)))
    options = ["compare", "npy", "--data", str(table), *SMALL, "--iterations", "50", "--methods", "disc-opt"]
    options += ["--dtype", "float64", "--set", "batch=51", "--set", "divergence=rademacher"]
    run(*options, "--out", str(tmp_path / "one")).check()
    on_two(*options, "--out", str(tmp_path / "two")).check()
    label = "disc-opt-rk38-x4-seed0"
    np.testing.assert_allclose(losses(tmp_path / "two", label), losses(tmp_path / "one", label), rtol=1e-10)


LONG = ["compare", "8gaussians", *SMALL, "--methods", "disc-opt", "--engine", "eager", "--iterations", "120"]


def kill_one_rank(out: Path, which: int, restarts: int) -> Ended:
    """Kills one rank in the middle of training."""
    launcher = launch(*LONG, "--out", str(out), restarts=restarts)
    wait_for_records(out / "runs" / LABELS["disc-opt"] / "records.jsonl", 35, launcher, timeout=120)
    os.kill(ranks_of(launcher)[which], signal.SIGKILL)
    return ended(launcher, timeout=240)


def test_a_lost_rank_ends_the_other_and_the_run_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "out"
    end = kill_one_rank(out, 1, restarts=0)
    assert end.status != 0
    assert "rank 0: error: disc-opt-rk38-x10-seed0, iteration" in end.complained
    assert "rank 0 of 2: the others did not answer" in end.complained
    saved: list[dict[str, Any]] = untimed(out, LABELS["disc-opt"])
    assert 35 <= len(saved) < 120
    run(*LONG, "--out", str(out), "--resume", timeout=240).check()
    whole = untimed(out, LABELS["disc-opt"])
    assert whole[: len(saved)] == saved
    assert [r["ranks"] for r in whole] == [2] * len(saved) + [1] * (120 - len(saved))


@pytest.mark.parametrize("which", [0, 1])
def test_torchrun_starts_the_ranks_anew(tmp_path: Path, which: int) -> None:
    """They go on from the checkpoint, not from the beginning."""
    out = tmp_path / "out"
    kill_one_rank(out, which, restarts=1).check_status(0)
    records = untimed(out, LABELS["disc-opt"])
    assert [r["iteration"] for r in records] == list(range(120))
    resumed = [e for e in read_lines(out / "runs" / LABELS["disc-opt"] / EVENTS, Event) if e.event == "resumed"]
    assert [e.iteration >= 30 for e in resumed] == [True]


def test_a_restart_is_no_permission_to_go_on_with_another_run(tmp_path: Path) -> None:
    """Refused at first and at the restart: the directory holds what another command made."""
    out = tmp_path / "out"
    run(*LONG[:-1], "12", "--out", str(out)).check()
    end = ended(launch(*LONG, "--out", str(out), restarts=1), timeout=240)
    assert end.status != 0
    assert end.complained.count("rank 0: error: --out") == 2
    assert len(untimed(out, LABELS["disc-opt"])) == 12


def test_ctrl_c_stops_all_ranks_at_one_iteration(tmp_path: Path) -> None:
    out = tmp_path / "out"
    launcher = launch(*LONG, "--out", str(out), group=True)
    wait_for_records(out / "runs" / LABELS["disc-opt"] / "records.jsonl", 10, launcher, timeout=120)
    os.killpg(launcher.pid, signal.SIGINT)
    end = ended(launcher, timeout=120)
    assert end.status != 0
    said = re.findall(r"rank (\d): error: interrupted in \S+ before iteration (\d+); (.*)", end.complained)
    assert sorted(rank for rank, _, _ in said) == ["0", "1"]
    assert len({iteration for _, iteration, _ in said}) == 1
    assert ("0", "saved: --resume continues there") in {(rank, rest) for rank, _, rest in said}
    assert len(untimed(out, LABELS["disc-opt"])) == int(said[0][1])


def test_ranks_come_and_go_with_the_default_options(tmp_path: Path) -> None:
    """The engine is left open: two ranks need torch's operators, and one process goes on with them."""
    options = ["compare", "8gaussians", *SMALL, "--out", str(tmp_path / "out")]
    on_two(*options, "--iterations", "4").check()
    run(*options, "--iterations", "6", "--resume", timeout=240).check()
    on_two(*options, "--iterations", "8", "--resume").check()
    for label in LABELS.values():
        assert [(r["ranks"], r["engine"]) for r in untimed(tmp_path / "out", label)] == [
            *[(2, "eager")] * 4,
            *[(1, "eager")] * 2,
            *[(2, "eager")] * 2,
        ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare", "spiral", "--no-checks"], "spiral"),
        (["compare", "8gaussians", "--no-checks", "--set", "batch=1"], "batch"),
        (["compare", "8gaussians", "--no-checks", "--methods", "ad-adaptive"], "ad-adaptive"),
        (["gradients", "spiral"], "only compare shares its work among ranks"),
    ],
)
def test_what_ranks_can_not_share_is_refused(tmp_path: Path, arguments: Sequence[str], message: str) -> None:
    end = on_two(*arguments, "--out", str(tmp_path / "out"))
    assert end.status != 0
    mine = [line for line in end.complained.splitlines() if line.startswith("rank ")]
    assert mine
    assert all("error: " in line for line in mine)
    assert any(message in line for line in mine)
    assert not list((tmp_path / "out").glob("**/records.jsonl"))
