"""Options in messages about a user's file, as the command line has them: `--drop kind` for `drop=kind`.

The reading of files is part of the library, whose messages name options as Python has them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

OF_TABLES = ("drop", "dequantise", "condition", "classes", "missing", "header", "decimal", "index")
OF_SERIES = ("missing_values", "header", "decimal", "date_order", "input_kind", "leave_out", "held_out")
OWN = {"density": OF_TABLES, "score": ("missing", "header", "decimal"), "series": OF_SERIES}
"""Options that messages name, by the command that has them itself."""

BY_SET = ("compare", "suite", "sweep", "gradients", "taylor", "advise")
"""Commands that take the options of tables by `--set`."""

TRAINING = ("compare", "density", "series", "suite")
"""Commands that take the options of methods."""


def as_typed(text: str, command: str) -> str:
    """`text` with options of the reading and of methods as `command` takes them; of other commands as it is."""
    if command in TRAINING:
        text = text.replace("pynode.OptDisc(adjoint='interpolating')", "--adjoint interpolating")
    if command in OWN:
        names = "|".join(OWN[command])
        return re.sub(rf"(?<![\w./'\"-])({names})=(?=\S)(true\b|false\b)?", _flag, text)
    if command in BY_SET:
        names = "|".join(OF_TABLES)
        text = re.sub(rf"(?<![\w./'\"-])(?<!--set )({names})=(?=\S)", r"--set \1=", text)
        return re.sub(rf"^({names}) = ", r"--set \1 = ", text)
    return text


@contextmanager
def notices_as_typed(command: str) -> Iterator[None]:
    """While the block runs, notices name options as `command` takes them."""

    def rewrite(record: logging.LogRecord) -> bool:
        record.msg, record.args = as_typed(record.getMessage(), command), ()
        return True

    log = logging.getLogger("pynode")
    log.addFilter(rewrite)
    try:
        yield
    finally:
        log.removeFilter(rewrite)


def _flag(match: re.Match[str]) -> str:
    if match[1] == "header" and match[2]:
        return "--header" if match[2] == "true" else "--no-header"
    return f"{_dashed(match[1])} {match[2] or ''}"


def _dashed(name: str) -> str:
    return f"--{name.replace('_', '-')}"
