"""Installs what the bridge needs: Julia if it is missing, and the packages of the project, compiled.

Julia's package manager does the work and shows its own progress.  A project that the user named by
`PYTHON_JULIACALL_PROJECT` gets what it lists, and no packages beyond.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pynode.julia import environment, project
from pynode.julia.environment import Environment
from pynode.julia.errors import JuliaUnavailable, SetupFailed
from pynode.julia.session import default_session

Say = Callable[[str], None]
"""Prints one line."""

OFFLINE = "JULIA_PKG_OFFLINE"

LARGEST_STATUS = 128
"""The largest exit status of a program that no signal has ended."""

PREFERENCES, WITHOUT_SOLVES = "LocalPreferences.toml", "[PyNODE]\nprecompile_workload = false\n"
"""What tells PrecompileTools to compile a package without its workload."""

BY_HAND = (
    f"install Julia 1.10 or newer by hand (https://julialang.org/downloads) so that `julia` is on the PATH, or set "
    f"{environment.EXE} and {environment.PROJECT}"
)


def set_up(say: Say) -> dict[str, Any]:
    """Installs, compiles and starts everything once; returns the versions that the worker reports.

    Raises `JuliaUnavailable` where something is missing that has to be installed by hand, `SetupFailed` where Julia's
    package manager fails, and what `Session.call` raises where the worker can't be started.
    """
    here = environment.find()
    if here.conflict:
        raise JuliaUnavailable(here.conflict, environment.remedy(here))
    if not here.project_is_users:
        _make_project()
        here = environment.find()
    if here.executable is None:
        _install_julia(here, say)
        here = environment.find()
    _check(here)
    say(f"Julia {here.version}: {here.executable} ({here.source})")
    say(f"project: {here.project}")
    began = time.perf_counter()
    _install_packages(here, say)
    if not _loads(here):
        _compile_without_solves(here, say)
    say(f"packages are in place ({time.perf_counter() - began:.0f} s); starting the worker")
    return start(say)


def start(say: Say) -> dict[str, Any]:
    """Starts a worker, says how long that took, ends it; returns the versions that it reports."""
    began = time.perf_counter()
    with default_session() as session:
        versions = session.call("versions").value
    say(f"the worker started and answered in {time.perf_counter() - began:.1f} s")
    return versions


def _check(here: Environment) -> None:
    """Raises `JuliaUnavailable` for what installing packages can't mend."""
    problems = environment.missing(here)
    if here.executable is None or not here.version or here.version_numbers < environment.OLDEST:
        raise JuliaUnavailable(problems[0], BY_HAND)
    if here.project is None or not here.project.is_dir() or not here.juliacall:
        raise JuliaUnavailable("; ".join(problems), environment.remedy(here))
    if here.project_is_users and "PyNODE" not in here.packages and not _names_pynode(here.project):
        raise JuliaUnavailable(f"the project {here.project} has no package PyNODE", environment.remedy(here))
    if here.project_is_users and here.pythoncall and not here.pythoncall_fits:  # what it lists is the user's
        raise JuliaUnavailable(problems[-1], environment.remedy(here))


def _names_pynode(project: Path) -> bool:
    return "PyNODE" in environment.read_toml(project / "Project.toml").get("deps", {})


def _make_project() -> None:
    try:
        project.make_project()
    except OSError as error:
        remedy = f"make it writable, or set {environment.EXE} and {environment.PROJECT}"
        raise SetupFailed(f"{project.project()} can't be written ({error.strerror}); {remedy}") from error


# --- Julia itself -----------------------------------------------------------------------------------------------------


def _install_julia(here: Environment, say: Say) -> None:
    prefix = environment.juliapkg_prefix()
    if here.source or prefix is None:  # a variable names something that is no Julia, or juliapkg can't be asked
        raise JuliaUnavailable(here.source or "no Julia was found on this machine", BY_HAND)
    say(f"There is no Julia on this machine; juliapkg now downloads one from julialang.org (about 200 MB) to {prefix}")
    say("to use another one, stop here (Ctrl-C) and put its `julia` on the PATH")
    try:
        from juliapkg.compat import Compat  # type: ignore[import-untyped]
        from juliapkg.find_julia import find_julia  # type: ignore[import-untyped]

        find_julia(compat=Compat.parse("1.10"), prefix=str(prefix), install=True)
    except Exception as error:  # no network, no room, no build for this system: bare exceptions of several kinds
        raise JuliaUnavailable(f"no Julia was found, and none could be downloaded ({error})", BY_HAND) from error


# --- packages ---------------------------------------------------------------------------------------------------------


def _install_packages(here: Environment, say: Say) -> None:
    """Runs the package manager; offline first where nothing has to be resolved, else offline last."""
    if os.environ.get(OFFLINE):
        attempts: list[dict[str, str]] = [{}]
    else:
        offline = {OFFLINE: "true"}
        attempts = [offline, {}] if _complete(here) else [{}, offline]
    for attempt, variables in enumerate(attempts):
        if attempt:
            say("once more, with what is on this machine" if variables else "once more, with the network")
        if _run(here, _script(here), variables) == 0:
            return
    said = "Julia's package manager could not install the packages; its output above says why"
    if here.pythoncall and not here.pythoncall_fits:
        said += f"; where PythonCall {here.juliacall} can't be had: {environment.with_juliacall(here.pythoncall)}"
    raise SetupFailed(said)


def _complete(here: Environment) -> bool:
    """Whether the manifest lists all that is wanted, in the versions that fit, and the files are there."""
    return not environment.missing(here) and (here.project_is_users or here.pythoncall_fits)


def _script(here: Environment) -> str:
    steps = ["using Pkg"]
    if not here.project_is_users:
        if "PyNODE" not in here.packages:  # Julia 1.10 does not read where the project says that it lies
            steps.append("Pkg.develop(path=ARGS[1])")  # a path has no place inside code
        if not here.pythoncall_fits:  # the two are made for each other
            steps.append(f'Pkg.add(name="PythonCall", version="{here.juliacall}")')
    return "; ".join([*steps, "Pkg.instantiate()", "Pkg.precompile()"])


def _loads(here: Environment) -> bool:
    """Whether Julia survives loading the compiled package; errors are left to the worker, which tells them."""
    return 0 <= _run(here, "using PyNODE", {OFFLINE: "true"}) <= LARGEST_STATUS


def _compile_without_solves(here: Environment, say: Say) -> None:
    """Compiles the package without its first solves, for a Julia that crashes on what they leave in it.

    Julia up to 1.12 may crash when it loads a compiled package (JuliaLang/julia#62047), depending on its version and
    on those of the packages.
    """
    assert here.project is not None
    if here.project_is_users:
        raise SetupFailed(
            f"Julia crashes when it loads the compiled package; write these two lines to "
            f"{here.project / PREFERENCES}, then run setup again: {WITHOUT_SOLVES.strip().replace(chr(10), ' and ')}"
        )
    say("Julia crashes when it loads the compiled package; compiling it without solves, which makes first calls slower")
    file = here.project / PREFERENCES
    try:
        others = file.read_text(encoding="utf-8") if file.exists() else ""
        if "[PyNODE]" not in others:
            file.write_text(others + WITHOUT_SOLVES, encoding="utf-8")
    except OSError as error:
        raise SetupFailed(f"{file} can't be written ({error.strerror}); make it writable") from error
    _install_packages(here, say)
    if not _loads(here):
        raise SetupFailed(f"Julia {here.version} crashes when it loads the package; install another version of Julia")


def _run(here: Environment, script: str, variables: dict[str, str]) -> int:
    """Runs Julia code in the project, its output going where ours goes; returns the exit status.

    ARGS[1] is the folder of the package PyNODE.
    """
    package = str(project.package())
    command = [str(here.executable), f"--project={here.project}", "--startup-file=no", "-e", script, package]
    try:
        return subprocess.run(command, env={**os.environ, **variables}, check=False).returncode
    except OSError as error:
        raise SetupFailed(f"{here.executable} can't be run: {error}") from error
