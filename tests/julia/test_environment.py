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
from pynode.julia.errors import JuliaUnavailable, SetupFailed
from pynode.julia.session import default_session
from pynode.julia.setup import set_up

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the pretended Julia is a shell script")

JULIACALL = version("juliacall")

PRETENDED = """#!/bin/sh
if [ "$1" = --version ]; then echo "julia version {version}"; exit; fi
echo "offline=$JULIA_PKG_OFFLINE $*" >> "{log}"
[ -z "{needs_network}" ] || [ -z "$JULIA_PKG_OFFLINE" ] || exit 1
exit {status}
"""


@pytest.fixture(autouse=True)
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No Julia anywhere, an empty home, a repository without packages."""
    for name in list(os.environ):
        if name.startswith(("PYTHON_JULIA", "JULIA", "PYNODE_JULIA")):
            monkeypatch.delenv(name)
    (tmp_path / "bin").mkdir()
    (tmp_path / "repository" / "julia").mkdir(parents=True)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(environment, "ROOT", tmp_path / "repository")
    monkeypatch.setattr(environment, "juliapkg_prefix", lambda: None)


@pytest.fixture
def pretend_julia(tmp_path: Path) -> Callable[..., Path]:
    """Puts a program called `julia` on the PATH that knows its version and writes its arguments down."""

    def pretend(number: str = "1.10.8", *, status: int = 0, needs_network: bool = False, folder: str = "bin") -> Path:
        path = tmp_path / folder / "julia"
        path.parent.mkdir(parents=True, exist_ok=True)
        values = {"version": number, "log": tmp_path / "log", "status": status, "needs_network": needs_network or ""}
        path.write_text(PRETENDED.format(**values))
        path.chmod(0o755)
        return path

    return pretend


@pytest.fixture
def pretend_project(tmp_path: Path) -> Callable[..., Path]:
    """Writes a project with a manifest of the needed packages, and their folders."""

    def pretend(name: str = "repository", *, without: tuple[str, ...] = (), pythoncall: str = "") -> Path:
        project = tmp_path / name
        (project / "julia").mkdir(parents=True, exist_ok=True)
        (project / "Project.toml").write_text('[deps]\nPyNODE = "1"\nZygote = "2"\n')
        lines = ['julia_version = "1.10.8"', 'manifest_format = "2.0"', ""]
        for package in sorted({*environment.NEEDED, "Zygote"} - {*without, "PyNODE"}):
            number = (pythoncall or JULIACALL) if package == "PythonCall" else "1.2.3"
            lines += [f"[[deps.{package}]]", 'git-tree-sha1 = "abc"', 'uuid = "u"', f'version = "{number}"', ""]
            (tmp_path / ".julia" / "packages" / package).mkdir(parents=True, exist_ok=True)
        if "PyNODE" not in without:
            lines += ["[[deps.PyNODE]]", 'path = "julia"', 'uuid = "u"', 'version = "0.1.0"', ""]
        (project / "Manifest.toml").write_text("\n".join(lines))
        return project

    return pretend


def log(tmp_path: Path) -> list[str]:
    """How the pretended Julia was called."""
    return (tmp_path / "log").read_text().splitlines()


def test_nothing_there(tmp_path: Path) -> None:
    found = find()
    assert (found.executable, found.project, found.version) == (None, None, "")
    assert missing(found) == [
        "no Julia was found on this machine",
        f"no Julia project: {tmp_path / 'repository'} has no Project.toml, which comes with the repository, "
        "not the wheel",
    ]
    with pytest.raises(JuliaUnavailable, match=r"no Julia was found on this machine.*use a clone of the repository"):
        default_session()


def test_all_there(pretend_julia: Callable[..., Path], pretend_project: Callable[..., Path]) -> None:
    executable, project = pretend_julia(), pretend_project()
    found = ready()
    assert (found.executable, found.source, found.version, found.project) == (executable, "PATH", "1.10.8", project)
    assert found.packages["SciMLSensitivity"].version == "1.2.3"
    assert found.pythoncall_fits
    assert worker_variables(found) | {EXE: str(executable), PROJECT: str(project)} == worker_variables(found)


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
    (project / "julia").rmdir()
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
    found = ready()
    assert (found.executable, found.source, found.project) == (mine, EXE, project)
    assert found.depots == (tmp_path / "depot", tmp_path / ".julia")
    assert set(worker_variables(found)).isdisjoint({EXE, PROJECT, "PYTHON_JULIACALL_HANDLE_SIGNALS"})


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
    assert "missing: no Julia was found on this machine" in out
    assert "Julia can't be used yet; use a clone of the repository, or set PYTHON_JULIACALL_EXE" in out


def test_status_with_everything(
    pretend_julia: Callable[..., Path], pretend_project: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    pretend_julia()
    pretend_project(pythoncall="0.9.1")
    run("status")
    out = capfd.readouterr().out
    assert "Julia can be used" in out
    assert "1.10.8" in out
    assert "PythonCall should have the same version" in out


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
        assert "missing: no Julia was found on this machine" in done.stdout
        assert done.stderr == ""
    else:
        assert done.returncode == JuliaUnavailable.exit_status
        assert done.stderr.startswith("error: Julia can't be used: no Julia was found on this machine; install Julia")
        assert done.stderr.count("\n") == 1


# --- setup ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def stand_in_worker(stand_in_command: Callable[[str], list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker that setup starts at its end."""
    monkeypatch.setenv("PYNODE_JULIA_WORKER", json.dumps(stand_in_command("")))


@pytest.mark.usefixtures("stand_in_worker")
def test_setup_installs_into_a_fresh_clone(
    tmp_path: Path, pretend_julia: Callable[..., Path], pretend_project: Callable[..., Path]
) -> None:
    pretend_julia()
    project = pretend_project()
    (project / "Manifest.toml").unlink()
    said: list[str] = []
    assert set_up(said.append)["stand-in"] == "1"
    develop, add = "Pkg.develop(path=ARGS[1])", f'version="{JULIACALL}")'
    steps = f'using Pkg; {develop}; Pkg.add(name="PythonCall", {add}; Pkg.instantiate(); Pkg.precompile()'
    assert log(tmp_path) == [f"offline= --project={project} --startup-file=no -e {steps} {project / 'julia'}"]
    assert any("the worker started and answered" in line for line in said)


@pytest.mark.usefixtures("stand_in_worker")
def test_setup_of_what_is_complete_needs_no_network(
    tmp_path: Path, pretend_julia: Callable[..., Path], pretend_project: Callable[..., Path]
) -> None:
    pretend_julia()
    pretend_project()
    set_up(lambda _: None)
    assert [line.split()[0] for line in log(tmp_path)] == ["offline=true"]
    assert "Pkg.develop" not in log(tmp_path)[0]
    assert "Pkg.add" not in log(tmp_path)[0]
    pretend_julia(needs_network=True)
    set_up(lambda _: None)
    assert [line.split()[0] for line in log(tmp_path)[1:]] == ["offline=true", "offline="]


def test_setup_says_when_packages_can_not_be_installed(
    tmp_path: Path,
    pretend_julia: Callable[..., Path],
    pretend_project: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend_julia(status=1)
    (pretend_project() / "Manifest.toml").unlink()
    with pytest.raises(SetupFailed, match="could not install the packages"):
        set_up(lambda _: None)
    assert [line.split()[0] for line in log(tmp_path)] == ["offline=", "offline=true"]
    monkeypatch.setenv("JULIA_PKG_OFFLINE", "true")
    with pytest.raises(SetupFailed):
        set_up(lambda _: None)
    assert len(log(tmp_path)) == 3, "the user's word is followed"


@pytest.mark.usefixtures("stand_in_worker")
def test_setup_adds_nothing_to_the_users_project(
    tmp_path: Path,
    pretend_julia: Callable[..., Path],
    pretend_project: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(EXE, str(pretend_julia()))
    project = pretend_project("theirs", pythoncall="0.9.1")
    monkeypatch.setenv(PROJECT, str(project))
    set_up(lambda _: None)
    assert log(tmp_path) == [
        f"offline=true --project={project} --startup-file=no -e using Pkg; Pkg.instantiate(); Pkg.precompile() "
        f"{tmp_path / 'repository' / 'julia'}"
    ]
    pretend_project("theirs", without=("PyNODE",))
    (project / "Project.toml").write_text("[deps]\n")
    with pytest.raises(JuliaUnavailable, match=rf"{project} has no package PyNODE; run: julia --project={project} -e"):
        set_up(lambda _: None)
    assert len(log(tmp_path)) == 1


def test_setup_of_a_julia_that_is_too_old(
    pretend_julia: Callable[..., Path], pretend_project: Callable[..., Path]
) -> None:
    pretend_julia("1.6.7")
    pretend_project()
    with pytest.raises(JuliaUnavailable, match=r"1.6.7 is too old.*install Julia 1.10 or newer by hand"):
        set_up(lambda _: None)


def test_a_download_that_fails_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from juliapkg import find_julia  # type: ignore[import-untyped]

    def no_network(**_: object) -> None:
        raise OSError("<urlopen error Name or service not known>")

    monkeypatch.setattr(environment, "juliapkg_prefix", lambda: tmp_path / "own")
    monkeypatch.setattr(find_julia, "find_julia", no_network)
    said: list[str] = []
    with pytest.raises(JuliaUnavailable, match=r"none could be downloaded \(<urlopen.*install Julia 1.10 or newer"):
        set_up(said.append)
    assert "juliapkg now downloads one" in said[0], "said before it is done"


def test_juliapkg_does_install_where_it_may(
    tmp_path: Path,
    pretend_julia: Callable[..., Path],
    pretend_project: Callable[..., Path],
    stand_in_worker: None,  # noqa: ARG001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from juliapkg import find_julia

    pretend_project()
    monkeypatch.setattr(environment, "juliapkg_prefix", lambda: tmp_path / "own")
    monkeypatch.setattr(find_julia, "find_julia", lambda **_: pretend_julia(folder="own/bin"))
    assert set_up(lambda _: None)["stand-in"] == "1"
    assert find().source == "juliapkg"
