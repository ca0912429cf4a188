"""What setup installs and where, in a clone and from a wheel: with pretended installations, without Julia."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from pynode.julia import environment
from pynode.julia import project as our
from pynode.julia.environment import EXE, PROJECT, find, missing
from pynode.julia.errors import JuliaUnavailable, SetupFailed
from pynode.julia.setup import set_up

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="the pretended Julia is a shell script"),
    pytest.mark.usefixtures("bare_machine"),
]

JULIACALL = version("juliacall")


LOADING = "-e using PyNODE "


def log(tmp_path: Path) -> list[str]:
    """How the pretended Julia was called, apart from loading the package once it is compiled."""
    return [line for line in (tmp_path / "log").read_text().splitlines() if LOADING not in line]


@pytest.fixture
def stand_in_worker(
    bare_machine: None,  # noqa: ARG001 (which unsets the variable)
    stand_in_command: Callable[[str], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
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
    project = pretend_project("theirs")
    monkeypatch.setenv(PROJECT, str(project))
    set_up(lambda _: None)
    assert log(tmp_path) == [
        f"offline=true --project={project} --startup-file=no -e using Pkg; Pkg.instantiate(); Pkg.precompile() "
        f"{our.package()}"
    ]
    pretend_project("theirs", without=("PyNODE",))
    (project / "Project.toml").write_text("[deps]\n")
    with pytest.raises(JuliaUnavailable, match=rf"{project} has no package PyNODE; run: julia --project={project} -e"):
        set_up(lambda _: None)
    assert len(log(tmp_path)) == 1


@pytest.mark.usefixtures("stand_in_worker")
def test_a_package_that_crashes_julia_is_compiled_without_solves(
    tmp_path: Path, pretend_julia: Callable[..., Path], pretend_project: Callable[..., Path]
) -> None:
    """As JuliaLang/julia#62047 does; one that loads is left as it is."""
    pretend_julia()
    preferences = pretend_project() / "LocalPreferences.toml"
    set_up(lambda _: None)
    assert not preferences.exists()
    pretend_julia(crashes="once")
    said: list[str] = []
    assert set_up(said.append)["stand-in"] == "1"
    assert environment.read_toml(preferences) == {"PyNODE": {"precompile_workload": False}}
    assert any("compiling it without solves" in line for line in said)
    assert len(log(tmp_path)) == 3, "compiled once more"


def test_setup_says_when_julia_crashes_in_any_case(
    pretend_julia: Callable[..., Path], pretend_project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    julia, project = pretend_julia(crashes="always"), pretend_project()
    with pytest.raises(SetupFailed, match=r"Julia 1.10.8 crashes when it loads the package; install another version"):
        set_up(lambda _: None)
    (project / "LocalPreferences.toml").unlink()
    monkeypatch.setenv(EXE, str(julia))
    monkeypatch.setenv(PROJECT, str(project))
    with pytest.raises(
        SetupFailed, match=r"write these two lines to .*toml, then .*\[PyNODE\] and precompile_workload"
    ):
        set_up(lambda _: None)
    assert not (project / "LocalPreferences.toml").exists(), "it is the user's"


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


# --- a wheel ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """What a wheel has installed, and no clone."""
    packaged = tmp_path / "packaged"
    (packaged / "julia" / "src").mkdir(parents=True)
    (packaged / "julia" / "src" / "PyNODE.jl").touch()
    (packaged / "Project.toml").write_text(f'[deps]\nPyNODE = "1"\nZygote = "2"\n[sources]\n{our.SOURCE}\n')
    return packaged


@pytest.mark.usefixtures("stand_in_worker")
def test_setup_from_a_wheel_makes_a_project_of_the_users(
    tmp_path: Path, wheel: Path, pretend_julia: Callable[..., Path], pretend_project: Callable[..., Path]
) -> None:
    """Nothing is written beside the package, which may lie where only an administrator writes."""
    pretend_julia()
    project = find().project
    assert project is not None
    assert project.parent == tmp_path / ".local" / "share" / "pynode" / "julia"
    assert not project.exists(), "looking makes nothing"
    assert missing(find()) == [f"the packages of the project {project} are not installed (it has no Manifest.toml)"]
    before = sorted(wheel.rglob("*"))
    set_up(lambda _: None)
    assert sorted(wheel.rglob("*")) == before
    assert environment.read_toml(project / "Project.toml")["sources"]["PyNODE"]["path"] == str(wheel / "julia")
    assert log(tmp_path)[0].startswith(f"offline= --project={project} --startup-file=no -e using Pkg; Pkg.develop(")
    assert log(tmp_path)[0].endswith(f" {wheel / 'julia'}")
    pretend_project(str(project))  # as the package manager would
    assert missing(find()) == []
    set_up(lambda _: None)
    again = environment.read_toml(project / "Project.toml")
    assert again["sources"]["PyNODE"]["path"] == str(wheel / "julia"), "the packaged project is what counts"


def test_each_place_and_version_of_a_wheel_has_a_project_of_its_own(
    tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = our.project()
    monkeypatch.setattr(our, "version", lambda _: "9.9")
    second = our.project()
    shutil.copytree(wheel, tmp_path / "elsewhere")
    monkeypatch.setattr(our, "PACKAGED", tmp_path / "elsewhere")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    third = our.project()
    assert first is not None
    assert second is not None
    assert third is not None
    assert second.name == f"9.9-{first.name.rpartition('-')[2]}"
    assert third.parent == tmp_path / "data" / "pynode" / "julia"
    assert third.name != second.name


@pytest.mark.usefixtures("wheel")
def test_a_project_that_can_not_be_written_is_one_line(tmp_path: Path, pretend_julia: Callable[..., Path]) -> None:
    pretend_julia()
    (tmp_path / ".local").write_text("a file in the way")
    with pytest.raises(SetupFailed, match=r"can't be written \(Not a directory\); make it writable, or set PYTHON_"):
        set_up(lambda _: None)
