"""Members from outside pynode in the configuration of a run: where they come from, and whether they have changed.

The key `outside` of a configuration holds the `Origin` of its problem, method, scheme, field and engine, of those that
are from outside.  Reading it runs nothing; a file is run where its member is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pynode.engines import ENGINES
from pynode.errors import OutsideError
from pynode.fields import FIELDS
from pynode.methods import METHODS
from pynode.outside_members import REFERENCE, Origin, reference_origin
from pynode.problems import PROBLEMS
from pynode.registry import Registry
from pynode.schemes import SCHEMES

FIELD = "architecture"
"""The option of problems that names a field."""
FIELD_OF_SERIES = "field"
"""The option of the problem `series` that does; `FILE.py:NAME` stays as it is there."""

REGISTRIES: dict[str, Registry[Any]] = {
    "problem": PROBLEMS,
    "method": METHODS,
    "scheme": SCHEMES,
    "field": FIELDS,
    "engine": ENGINES,
}


def origins_of(config: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Where the members from outside that `config`, the plain values of a configuration, names come from."""
    method = config["method"]
    names = {
        "problem": config["problem"],
        "method": method["method"],
        "scheme": method.get("scheme"),
        "engine": method.get("engine"),
        "field": config["options"].get(FIELD) or config["options"].get(FIELD_OF_SERIES),
    }
    origins = {kind: _origin(kind, str(name)) for kind, name in names.items() if name is not None}
    return {kind: origin.to_json() for kind, origin in origins.items() if origin is not None}


def _origin(kind: str, name: str) -> Origin | None:
    """Where a member comes from; a field may be named by its file, which is not run."""
    by_file = reference_origin(name) if kind == "field" else None
    return REGISTRIES[kind].origin(name) if by_file is None else by_file


def recall_members(config: Mapping[str, Any], *, only_unknown: bool = False) -> None:
    """Makes the members from outside known that a stored configuration names.

    Raises `OutsideError` for a member that is not here, and `NameClash` where another one has its name, unless
    `only_unknown` leaves that one in its place.
    """
    for kind, origin in outside_of(config).items():
        if kind not in REGISTRIES:
            raise OutsideError(f"outside.{kind}: another version of pynode knows such members; use that version")
        if kind == "field" and REFERENCE.fullmatch(str(origin.get("name"))):
            continue  # named by its file, it is no member of a registry
        if not only_unknown or REGISTRIES[kind].origin(str(origin.get("name"))) is None:
            REGISTRIES[kind].recall(origin)


def outside_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The origins in a stored configuration; empty where all members are pynode's own."""
    return dict(config.get("outside") or {})


def changed_members(now: Mapping[str, Any], earlier: Mapping[str, Any]) -> list[str]:
    """A sentence for each member from outside that is not what it was in the configuration `earlier`."""
    mine, theirs = outside_of(now), outside_of(earlier)
    changes = []
    for kind in dict.fromkeys((*theirs, *mine)):
        then, today = theirs.get(kind, {}), mine.get(kind, {})
        name = today.get("name", then.get("name"))
        if then.get("file") and today.get("file"):
            if then.get("sha256") != today.get("sha256"):
                changes.append(f"{today['file']}, which the {kind} '{name}' is in, has changed since")
        elif then != today:
            changes.append(f"the {kind} '{name}' is {_place(today)} now, was {_place(then)}")
    return changes


def _place(origin: Mapping[str, Any]) -> str:
    if not origin:
        return "pynode's own"
    return f"in {origin['file']}" if origin.get("file") else f"of {origin.get('package')} {origin.get('version')}"
