"""What a sweep is to do, from a TOML file, from the command line, or from both: the command line wins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pynode.errors import InvalidArgument
from pynode.settings.values import parse, read_toml
from pynode.sweeps.axes import Axes, check_axes
from pynode.sweeps.needs import Needs, special_needs

RUNNING: dict[str, Any] = {"executor": "local", "address": None, "jobs": None, "retries": 2, "cpus": 1, "gpus": None}
"""Keys of a file that are no axes but say how the sweep runs; the same options on the command line win."""

MOST_JOBS = 10_000
MOST_RETRIES = 1000

WHERE = ("executor", "address", "jobs", "retries")
"""Those of them that a resumed sweep takes over, whatever its grid."""


@dataclass(frozen=True)
class Specification:
    """Axes, needs, and how the sweep runs: at most `jobs` cells at once, `retries` of a cell whose worker was lost."""

    axes: Axes
    needs: Needs = field(default_factory=Needs)
    executor: str = "local"
    address: str | None = None
    jobs: int | None = None
    retries: int = 2

    @property
    def running(self) -> dict[str, Any]:
        """Where and how it runs, as a file has it."""
        values = {name: getattr(self, name) for name in WHERE}
        return {name: value for name, value in values.items() if value is not None}

    def __post_init__(self) -> None:
        if self.jobs is not None and (type(self.jobs) is not int or self.jobs < 1):
            raise InvalidArgument("jobs", self.jobs, "not a positive integer", "use 1 or more")
        if self.jobs is not None and self.jobs > MOST_JOBS:
            raise InvalidArgument("jobs", self.jobs, f"more than {MOST_JOBS:,} processes", "use fewer")
        if type(self.retries) is not int or self.retries < 0:
            raise InvalidArgument("retries", self.retries, "not a non-negative integer", "use 0 for none")
        if self.retries > MOST_RETRIES:
            raise InvalidArgument("retries", self.retries, f"more than {MOST_RETRIES}", "use fewer")
        for name in ("executor", "address"):
            if not isinstance(getattr(self, name), (str, type(None))):
                raise InvalidArgument(name, getattr(self, name), "not a word", "put it into quotation marks")


def specify(values: Mapping[str, Any], **given: Any) -> Specification:
    """The specification with the values of a file and the options `given` on the command line (None: not given).

    Raises `UsageError` for every mistake in either.
    """
    values = dict(values)
    special = values.pop("needs", {})
    running = {name: values.pop(name, default) for name, default in RUNNING.items()}
    given = {name: value for name, value in given.items() if value is not None}
    if given.get("executor", running["executor"]) != running["executor"]:
        running |= {name: RUNNING[name] for name in ("address", "jobs")}  # those are of the other executor
    running |= given
    axes = check_axes(_flat(values))
    needs = Needs(running.pop("cpus"), running.pop("gpus"), special_needs(special))
    return Specification(axes, needs, **running)


def read_file(file: Path) -> dict[str, Any]:
    """The values of a TOML file; raises `UsageError` where it can't be read."""
    return read_toml(file, str(file))


def read_grid(texts: list[str]) -> dict[str, Any]:
    """The axes of `NAME=VALUE,VALUE ...` texts; raises `InvalidArgument`."""
    content: dict[str, Any] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        key = name.strip().replace("-", "_")
        if not equals or not key:
            raise InvalidArgument("--grid", repr(text), "no NAME=VALUE,...", "write e.g. --grid seed=0,1,2")
        if key in content:
            raise InvalidArgument("--grid", repr(text), f"{key} is given twice", "give all its values at once")
        content[key] = parse(f"--grid {key}", values)
    return content


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """With the table `set` as axes `set.NAME`."""
    options = values.get("set", {})
    if not isinstance(options, Mapping):
        raise InvalidArgument("set", options, "not a table", "write e.g. set.hidden = [32, 32]")
    return {**{k: v for k, v in values.items() if k != "set"}, **{f"set.{k}": v for k, v in options.items()}}
