"""What is found of Julia, what is said to be missing, what setup runs: with pretended installations, without Julia."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from pynode.cli.julia import julia as commands
from pynode.errors import UsageError
from pynode.julia import environment
from pynode.julia.environment import EXE, PROJECT, find, missing, ready, worker_variables
from pynode.julia.errors import JuliaUnavailable
from pynode.julia.session import default_session
from pynode.julia.setup import set_up

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="the pretended Julia is a shell script"),
    pytest.mark.usefixtures("bare_machine"),
]

JULIACALL = version("juliacall")


def test_nothing_there(tmp_path: Path) -> None:
    installation = find()
    assert (installation.executable, installation.project, installation.version) == (None, None, "")
    assert missing(installation) == [
        "no Julia was found on this machine",
        f"the Julia package PyNODE is neither in {tmp_path / 'repository'} nor in {tmp_path / 'packaged'}",
    ]
    with pytest.raises(JuliaUnavailable, match=r"no Julia was found on this machine.*install pynode again"):
        default_session()


def test_all_there(pretend_julia: Callable[..., Path], pretend_project: Callable[..., Path]) -> None:
    executable, project = pretend_julia(), pretend_project()
    installation = ready()
    assert (installation.executable, installation.source, installation.version, installation.project) == (
        executable,
        "PATH",
        "1.10.8",
        project,
    )
    assert installation.packages["SciMLSensitivity"].version == "1.2.3"
    assert installation.pythoncall_fits
    assert worker_variables(installation) | {EXE: str(executable), PROJECT: str(project)} == worker_variables(
        installation
    )


def test_no_packages_yet(
    pretend_julia: Callable[..., Path], pretend_project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_julia()
    (pretend_project() / "Manifest.toml").unlink()
    monkeypatch.delenv("PYNODE_JULIA_WORKER", raising=False)
    with pytest.raises(
        JuliaUnavailable, match=r"no Manifest.toml\); run: python experiments/run.py julia setup"
    ) as got:
        default_session()
    assert "\n" not in str(got.value)
    assert isinstance(got.value, UsageError)


@pytest.mark.parametrize(("number", "said"), [("1.9.4", "1.9.4 is too old"), ("", "does not answer as Julia does")])
def test_other_julias_are_refused(
    number: str, said: str, pretend_julia: Callable[..., Path], pretend_project: Callable[..., Path]
) -> None:
    pretend_julia(number)
    pretend_project()
    assert [said in problem for problem in missing(find())] == [True]


def test_a_julia_that_hangs_is_left(
    pretend_julia: Callable[..., Path], pretend_project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_julia().write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    pretend_project()
    monkeypatch.setattr(environment, "PATIENCE", 0.2)
    assert ["does not answer" in problem for problem in missing(find())] == [True]


def test_missing_packages_are_named(
    tmp_path: Path, pretend_julia: Callable[..., Path], pretend_project: Callable[..., Path]
) -> None:
    pretend_julia()
    project = pretend_project(without=("SciMLSensitivity", "Zygote"))
    (tmp_path / ".julia" / "packages" / "OrdinaryDiffEqTsit5").rmdir()
    manifest = project / "Manifest.toml"
    manifest.write_text(manifest.read_text().replace('path = "julia"', 'path = "gone"'))
    assert missing(find()) == [
        f"{project / 'Manifest.toml'} does not list SciMLSensitivity, Zygote",
        "not downloaded: PyNODE, OrdinaryDiffEqTsit5",
    ]


def test_the_manifest_for_this_julia_comes_first(
    pretend_julia: Callable[..., Path], pretend_project: Callable[..., Path]
) -> None:
    pretend_julia("1.11.2")
    project = pretend_project()
    (project / "Manifest-v1.10.toml").write_text("")
    assert find().manifest == project / "Manifest.toml"
    (project / "Manifest-v1.11.toml").write_text("")
    assert find().manifest == project / "Manifest-v1.11.toml"


def test_old_manifests_are_read(pretend_julia: Callable[..., Path], pretend_project: Callable[..., Path]) -> None:
    """Format 1 has no table around the packages."""
    pretend_julia()
    manifest = pretend_project() / "Manifest.toml"
    text = manifest.read_text().replace('manifest_format = "2.0"', "").replace("[[deps.", "[[")
    manifest.write_text(text)
    assert missing(find()) == []


@pytest.mark.parametrize(("name", "other"), [(EXE, PROJECT), (PROJECT, EXE), ("PYTHON_JULIACALL_BINDIR", PROJECT)])
def test_one_of_two_variables_is_refused(
    name: str,
    other: str,
    pretend_julia: Callable[..., Path],
    pretend_project: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend_julia()
    monkeypatch.setenv(name, str(pretend_project()))
    with pytest.raises(JuliaUnavailable, match=f"{name} is set, but {other} is not, .*; set both or none"):
        ready()


def test_the_users_variables_stay(
    tmp_path: Path,
    pretend_julia: Callable[..., Path],
    pretend_project: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend_julia()
    mine, project = pretend_julia("1.11.0", folder="mine"), pretend_project("theirs")
    monkeypatch.setenv(EXE, str(mine))
    monkeypatch.setenv(PROJECT, str(project / "Project.toml"))
    monkeypatch.setenv("PYTHON_JULIACALL_HANDLE_SIGNALS", "no")
    monkeypatch.setenv("JULIA_DEPOT_PATH", f"{tmp_path / 'depot'}:")
    installation = ready()
    assert (installation.executable, installation.source, installation.project) == (mine, EXE, project)
    assert installation.depots == (tmp_path / "depot", tmp_path / ".julia")
    assert set(worker_variables(installation)).isdisjoint({EXE, PROJECT, "PYTHON_JULIACALL_HANDLE_SIGNALS"})


def test_juliaup_is_found_beside_the_path(pretend_julia: Callable[..., Path]) -> None:
    assert find().executable is None
    path = pretend_julia(folder=".juliaup/bin")
    assert (find().executable, find().source) == (path, "juliaup")


# --- commands ---------------------------------------------------------------------------------------------------------


def run(*arguments: str) -> None:
    """Runs `julia ...` of the command line."""
    commands(list(arguments), standalone_mode=False)


def test_status_without_julia(capfd: pytest.CaptureFixture[str]) -> None:
    run("status", "--start")
    out = capfd.readouterr().out
    assert "problem: no Julia was found on this machine" in out
    assert "Julia can't be used yet; install pynode again" in out


def test_status_with_everything(
    pretend_julia: Callable[..., Path], pretend_project: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    pretend_julia()
    project = pretend_project()
    run("status")
    out = capfd.readouterr().out
    assert "Julia can be used" in out
    assert "1.10.8" in out
    assert "PythonCall has the same version" in out
    assert f"\n  julia --project={project}\n" in out, "in one piece, to paste"


def test_status_of_versions_that_do_not_go_together(
    pretend_julia: Callable[..., Path],
    pretend_project: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Both versions, and what to install: either may be changed in our project, juliacall alone beside the user's."""
    mine = pretend_julia()
    project = pretend_project(pythoncall="0.9.1")
    both = f"juliacall {JULIACALL} does not go with PythonCall 0.9.1 of {project / 'Manifest.toml'}"
    assert missing(find()) == [both]
    own = '-m pip install "juliacall==0.9.1"'
    with pytest.raises(JuliaUnavailable, match=rf"run: .* julia setup, or: .*{own}"):
        ready()
    run("status")
    out = " ".join(capfd.readouterr().out.split())
    assert f"problem: juliacall {JULIACALL} does not go with PythonCall 0.9.1" in out
    assert "Julia can't be used yet" in out
    monkeypatch.setenv(EXE, str(mine))
    monkeypatch.setenv(PROJECT, str(project))
    for call in (ready, lambda: set_up(lambda _: None)):
        with pytest.raises(JuliaUnavailable, match=rf"PythonCall 0.9.1 of .*; run: \S+ {own}$"):
            call()


def test_status_starts_the_worker(
    pretend_julia: Callable[..., Path],
    pretend_project: Callable[..., Path],
    stand_in_command: Callable[[str], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    pretend_julia()
    pretend_project()
    for mode, said in (("", "stand-in 1"), ("fail", "its worker does not start: the Julia worker could not start")):
        monkeypatch.setenv("PYNODE_JULIA_WORKER", json.dumps(stand_in_command(mode)))
        run("status", "--start")
        assert said in capfd.readouterr().out
        assert not default_session().alive


@pytest.mark.parametrize("command", ["status", "setup"])
def test_a_whole_process_without_julia(command: str, tmp_path: Path) -> None:
    """`status` reports and exits 0; `setup` can't do anything here and says so in one line."""
    code = "import sys; from pynode.cli import main; sys.exit(main(['julia', sys.argv[1]]))"
    variables = {**os.environ, "PYTHON_JULIAPKG_PROJECT": "relative, so juliapkg refuses", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, command], capture_output=True, text=True, env=variables, cwd=tmp_path, check=False
    )
    if command == "status":
        assert done.returncode == 0, done.stderr
        assert "problem: no Julia was found on this machine" in done.stdout
        assert done.stderr == ""
    else:
        assert done.returncode == JuliaUnavailable.exit_status
        assert done.stderr.startswith("error: Julia can't be used: no Julia was found on this machine; install Julia")
        assert done.stderr.count("\n") == 1
