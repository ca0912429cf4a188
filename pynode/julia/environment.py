"""Detects Julia on this machine: executable, project, packages.  No Julia code is run and nothing is changed.

Where the user has set juliacall's variables `PYTHON_JULIACALL_EXE` and `PYTHON_JULIACALL_PROJECT`, they are
used; otherwise Julia as found on this machine, with the project that `pynode.julia.project` names.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pynode.julia import project as our
from pynode.julia.errors import SET_UP, JuliaUnavailable

EXE, PROJECT, BINDIR = "PYTHON_JULIACALL_EXE", "PYTHON_JULIACALL_PROJECT", "PYTHON_JULIACALL_BINDIR"

OLDEST = (1, 10)

NEEDED = ("PyNODE", "PythonCall", "SciMLSensitivity", "OrdinaryDiffEqTsit5", "OrdinaryDiffEqVerner")
"""Packages that the bridge needs in any project; our own project needs all that it lists."""

PATIENCE = 10.0
"""Seconds that `julia --version` may take."""


@dataclass(frozen=True)
class Package:
    """A package in the project's manifest; `there` says whether its files are on this machine."""

    name: str
    version: str
    there: bool


@dataclass(frozen=True)
class Environment:
    """The Julia that was detected.  `source` says where Julia was found, `version` is "" where it does not run."""

    executable: Path | None
    source: str
    version: str
    project: Path | None
    project_is_users: bool
    manifest: Path | None
    wanted: tuple[str, ...]
    packages: dict[str, Package]
    juliacall: str
    depots: tuple[Path, ...]
    conflict: str

    @property
    def version_numbers(self) -> tuple[int, ...]:
        """Major and minor version."""
        return tuple(int(part) for part in re.findall(r"\d+", self.version)[:2])

    @property
    def pythoncall(self) -> str:
        """The version of PythonCall in the manifest; "" where it is not listed, or without a version."""
        package = self.packages.get("PythonCall")
        return package.version if package is not None else ""

    @property
    def pythoncall_fits(self) -> bool:
        """Whether PythonCall in the manifest and juliacall in Python have one version: else Julia does not start."""
        return self.pythoncall == self.juliacall

    @property
    def repl(self) -> str:
        """The command that opens a Julia REPL with the package PyNODE."""
        program = "julia" if self.executable is None or self.source == "PATH" else str(self.executable)
        return shlex.join((program, f"--project={self.project}"))


def find() -> Environment:
    """Detects executable, project and packages; takes as long as `julia --version`."""
    executable, source = _executable()
    named = os.environ.get(PROJECT)
    project = Path(named) if named else our.project()
    if project is not None and project.is_file():  # Julia takes the file as well as its folder
        project = project.parent
    number = _version(executable) if executable else ""
    manifest = _manifest(project, number) if project else None
    depots = _depots()
    return Environment(
        executable=executable,
        source=source,
        version=number,
        project=project,
        project_is_users=bool(named),
        manifest=manifest,
        wanted=NEEDED if named else _wanted(our.home()),
        packages=_packages(manifest, depots) if manifest else {},
        juliacall=_installed("juliacall"),
        depots=depots,
        conflict=_conflict(),
    )


def missing(here: Environment) -> list[str]:
    """The reasons why Julia cannot be used, as sentences; empty if it can."""
    if here.conflict:
        return [here.conflict]
    problems: list[str] = []
    if not here.juliacall:
        problems.append("the Python package juliacall is not installed")
    if here.executable is None:
        problems.append(here.source or "no Julia was found on this machine")
    elif not here.version:
        problems.append(f"{here.executable} --version does not answer as Julia does")
    elif here.version_numbers < OLDEST:
        problems.append(f"Julia {here.version} is too old (1.10 or newer is needed)")
    if here.project is None:
        problems.append(f"the Julia package PyNODE is neither in {our.CLONE} nor in {our.PACKAGED}")
    elif here.project_is_users and not here.project.is_dir():
        problems.append(f"the Julia project {here.project} does not exist")
    elif here.manifest is None:
        problems.append(f"the packages of the project {here.project} are not installed (it has no Manifest.toml)")
    else:
        if unlisted := [name for name in here.wanted if name not in here.packages]:
            problems.append(f"{here.manifest} does not list {', '.join(unlisted)}")
        if absent := [name for name in here.wanted if name in here.packages and not here.packages[name].there]:
            problems.append(f"not downloaded: {', '.join(absent)}")
        if here.juliacall and here.pythoncall and not here.pythoncall_fits:
            problems.append(
                f"juliacall {here.juliacall} does not go with PythonCall {here.pythoncall} of {here.manifest}"
            )
    return problems


def ready() -> Environment:
    """The environment, complete; raises `JuliaUnavailable`."""
    here = find()
    if problems := missing(here):
        raise JuliaUnavailable("; ".join(problems), remedy(here))
    return here


def remedy(here: Environment) -> str:
    """The remedy for what `missing` returns, as one clause."""
    if here.conflict:
        return "set both or none"
    if here.project is None:
        return "install pynode again, by pip or from a clone"
    if here.project_is_users and "PyNODE" not in here.packages:
        package = our.package()
        return f"run: julia --project={here.project} -e 'using Pkg; Pkg.develop(path=\"{package}\")'; then: {SET_UP}"
    if here.pythoncall and not here.pythoncall_fits:
        own = with_juliacall(here.pythoncall)
        return f"run: {own}" if here.project_is_users else f"run: {SET_UP}, or: {own}"
    return f"run: {SET_UP}"


def with_juliacall(number: str) -> str:
    """The command that installs this version of juliacall into the Python that runs."""
    return f'{shlex.quote(sys.executable or "python")} -m pip install "juliacall=={number}"'


def worker_variables(here: Environment) -> dict[str, str]:
    """Environment variables for the worker; never one that the user has set."""
    variables = {
        EXE: str(here.executable),
        PROJECT: str(here.project),
        # the worker never sees Ctrl-C, and with its own handlers Julia names the place of a crash and may use threads
        "PYTHON_JULIACALL_HANDLE_SIGNALS": "yes",
        "PYTHON_JULIACALL_STARTUP_FILE": "no",
    }
    return {name: value for name, value in variables.items() if not os.environ.get(name)}


# --- Julia ------------------------------------------------------------------------------------------------------------


def _executable() -> tuple[Path | None, str]:
    """Julia's executable and where it was found; or None and why it was not."""
    name = "julia.exe" if os.name == "nt" else "julia"
    for variable, value in (
        (EXE, os.environ.get(EXE)),
        (BINDIR, os.environ.get(BINDIR) and str(Path(os.environ[BINDIR]) / name)),
        ("PYTHON_JULIAPKG_EXE", os.environ.get("PYTHON_JULIAPKG_EXE")),
    ):
        if value:
            path = shutil.which(value)
            return (Path(path), variable) if path else (None, f"{variable} = {value} is no executable")
    if path := shutil.which("julia"):
        return Path(path), "PATH"
    if path := shutil.which(str(Path.home() / ".juliaup" / "bin" / name)):
        return Path(path), "juliaup"
    if (prefix := juliapkg_prefix()) and (path := shutil.which(str(prefix / "bin" / name))):
        return Path(path), "juliapkg"
    return None, ""


def juliapkg_prefix() -> Path | None:
    """Where juliapkg installs a Julia of its own; None where juliapkg is missing or misconfigured."""
    try:
        from juliapkg.state import STATE  # type: ignore[import-untyped]
    except Exception:  # it reads its variables when it is imported, and raises bare exceptions for wrong ones
        return None
    return Path(STATE["install"])


def _version(executable: Path) -> str:
    try:
        done = subprocess.run([executable, "--version"], capture_output=True, text=True, timeout=PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return ""
    match = re.match(r"julia version (\d+\.\d+\S*)", done.stdout.strip())
    return match[1] if match else ""


def _conflict() -> str:
    """juliacall takes executable and project together only."""
    exe = EXE if os.environ.get(EXE) else BINDIR if os.environ.get(BINDIR) else None
    project = PROJECT if os.environ.get(PROJECT) else None
    if bool(exe) == bool(project):
        return ""
    return f"{exe or project} is set, but {PROJECT if exe else EXE} is not, and juliacall takes both or none"


def _depots() -> tuple[Path, ...]:
    """Folders where Julia keeps packages; an empty entry stands for the default."""
    home = Path.home() / ".julia"
    entries = os.environ.get("JULIA_DEPOT_PATH", "").split(os.pathsep)
    return tuple(dict.fromkeys(Path(entry).expanduser() if entry else home for entry in entries))


# --- packages ---------------------------------------------------------------------------------------------------------


def _manifest(project: Path, number: str) -> Path | None:
    """The manifest that Julia would read: one for its own version comes first."""
    names = ["JuliaManifest.toml", "Manifest.toml"]
    if number:
        minor = ".".join(number.split(".")[:2])
        names = [f"JuliaManifest-v{minor}.toml", f"Manifest-v{minor}.toml", *names]
    return next((project / name for name in names if (project / name).is_file()), None)


def _wanted(project: Path | None) -> tuple[str, ...]:
    """Needed packages, and those that the project itself asks for."""
    asked: dict[str, Any] = {}
    for name in ("JuliaProject.toml", "Project.toml"):
        if project is not None and (project / name).is_file():
            asked = read_toml(project / name).get("deps", {})
            break
    return tuple(dict.fromkeys((*NEEDED, *sorted(asked))))


def _packages(manifest: Path, depots: tuple[Path, ...]) -> dict[str, Package]:
    """All packages of a manifest, of either format."""
    data = read_toml(manifest)
    listed = data.get("deps", {}) if "manifest_format" in data else data
    packages: dict[str, Package] = {}
    for name, entries in listed.items():
        if isinstance(entries, list) and entries and isinstance(entries[0], dict):
            entry = entries[0]
            packages[name] = Package(name, str(entry.get("version", "")), _there(name, entry, manifest, depots))
    return packages


def _there(name: str, entry: dict[str, Any], manifest: Path, depots: tuple[Path, ...]) -> bool:
    """Whether the package's files are on this machine, as far as can be seen without Julia's own hashes."""
    if path := entry.get("path"):
        return (manifest.parent / str(path)).is_dir()
    if "git-tree-sha1" not in entry:  # part of Julia itself
        return True
    return any((depot / "packages" / name).is_dir() for depot in depots)


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file; empty where it can't be read (Julia says why when it is used)."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return {}


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def rows(here: Environment) -> list[tuple[str, str]]:
    """The environment as pairs of names and values, for display."""
    packages = []
    for name in here.wanted:
        package = here.packages.get(name)
        state = "missing" if package is None else package.version if package.there else "not downloaded"
        packages.append(f"{name} {state}".strip())
    fits = "has the same version" if here.pythoncall_fits else f"is {here.pythoncall}, and should be the same"
    return [
        ("Julia", f"{here.version or '?'}  {here.executable} ({here.source})" if here.executable else "none"),
        ("project", f"{here.project or 'none'}{f' ({PROJECT})' if here.project_is_users else ''}"),
        ("manifest", str(here.manifest or "none")),
        ("packages", ", ".join(packages)),
        ("juliacall", f"{here.juliacall or 'none'}{f' (PythonCall {fits})' if here.pythoncall else ''}"),
        ("PyNODE", str(our.package())),
        ("depots", os.pathsep.join(str(depot) for depot in here.depots)),
    ]
