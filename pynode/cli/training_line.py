"""The command line that trains a problem with given options."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Mapping
from typing import Any

from pynode.cli.as_typed import OF_TABLES
from pynode.cli.derived import flag
from pynode.problems import PROBLEMS

OWN = {"series": "series", "table": "density"}
"""Problems that have a command of their own, and its name; `compare` trains all others."""


def training_line(name: str, options: Mapping[str, Any], seed: int) -> str:
    """The command that trains the problem called `name`, without `pynode` before it; methods can be added.

    `options` are those of the problem that were given.  A file's digest is left out: it is that of --data.
    """
    origin = PROBLEMS.origin(name)
    words = (
        [OWN[name]] if name in OWN else ["compare", origin.reference if origin is not None and origin.file else name]
    )
    for option, value in options.items():
        if option == "sha256" or value is None:
            continue
        if option == "data":
            words += ["--data", str(value)]
        elif OWN.get(name) == "series" or (OWN.get(name) == "density" and option in OF_TABLES):
            words += _flag(option, value)
        else:
            words += ["--set", f"{option}={_text(value)}"]
    if seed:
        words += ["--seeds", str(seed)]
    return shlex.join(words)


def _flag(option: str, value: Any) -> list[str]:
    """An option that the command has itself, `--no-header` among them."""
    if isinstance(value, bool):
        return [flag(option) if value else flag(f"no_{option}")]
    return [flag(option), _text(value)]


def _text(value: Any) -> str:
    """The value as options take it; a name that has a comma stands in quotation marks."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, (list, tuple)):
        return str(value)
    row = io.StringIO()
    csv.writer(row, lineterminator="").writerow(value)
    return row.getvalue()
