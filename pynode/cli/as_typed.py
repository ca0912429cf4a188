"""Options in messages about a user's file, as the command line has them: `--drop kind` for `drop=kind`.

The reading of files is part of the library, whose messages name options as Python has them: in parentheses, as in
"leave it out (drop=kind)".  What a command does not take is not offered.
"""

from __future__ import annotations

import ast
import logging
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

OF_TABLES = ("drop", "dequantise", "condition", "classes", "missing", "header", "decimal", "index")
OF_SERIES = (
    *("time", "id", "values", "inputs", "input_kind", "covariates", "circular", "missing_values", "leave_out"),
    *("header", "decimal", "date_order", "field", "hidden", "augment", "initial", "window", "continuity"),
    *("split", "held_out", "given"),
)
OF_FORECASTS = ("until", "every")
KNOWN = tuple(dict.fromkeys(("data", *OF_TABLES, *OF_SERIES, *OF_FORECASTS)))
"""Options that messages of the library name."""

OWN = {
    "density": ("data", *OF_TABLES),
    "score": ("data", "missing", "header", "decimal"),
    "sample": ("condition",),
    "series": ("data", *OF_SERIES),
    "predict": ("data", *OF_FORECASTS),
    **dict.fromkeys(("compare", "gradients", "taylor", "advise", "crosscheck"), ("data",)),
}
"""Those that a command has itself."""

BY_SET = ("compare", "suite", "sweep", "gradients", "taylor", "advise", "crosscheck")
"""Commands that take the options of problems by `--set`."""

NAMES = "|".join(KNOWN)
QUOTED = r"""'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*\""""
"""A text as Python writes it, which `pynode.names.as_argument` makes of what a shell would take apart."""
OFFERED = re.compile(rf"(?:(?<=\()|(?<= or ))({NAMES})=(?=\S)(True\b|False\b)?({QUOTED})?")
"""An option that a message offers: in parentheses, where it may say another one after "or"."""
IN_PARENTHESES = re.compile(rf" ?\(({NAMES})=(?:{QUOTED})?(?:[^()]|\([^()]*\))*\)")

SENTENCES = {
    "repeat its training with resume=True and the new data": (
        "repeat the command that trained it with --resume and the new --data"
    ),
}
"""What the command line says in another way than Python, for every command."""

TRAINING = ("compare", "density", "series", "suite")
"""Commands that take the options of methods."""


def as_typed(text: str, command: str) -> str:
    """`text` with the options that it offers as `command` takes them, and without those that it does not take."""
    if command in TRAINING:
        text = text.replace("pynode.OptDisc(adjoint='interpolating')", "--adjoint interpolating")
    for said, here in SENTENCES.items():
        text = text.replace(said, here)
    own, by_set = OWN.get(command, ()), command in BY_SET

    def kept(match: re.Match[str]) -> str:
        return match[0] if by_set or match[1] in own else ""

    def typed(match: re.Match[str]) -> str:
        name, truth = match[1], match[2]
        value = shlex.quote(ast.literal_eval(match[3])) if match[3] else ""
        if name not in own:
            return f"--set {name}={(truth or '').lower()}{value}"
        if truth:
            return _dashed(name if truth == "True" else f"no_{name}")
        return f"{_dashed(name)} {value}"

    text = OFFERED.sub(typed, IN_PARENTHESES.sub(kept, text))
    return re.sub(rf"^({NAMES}) = ", r"--set \1 = ", text) if by_set else text


def paths_as_typed(text: str, words: Sequence[str]) -> str:
    """`text` with the files that the command line `words` names as they stand there, not from the root."""
    for word in words:
        # of --data=t.csv and of --set data=t.csv the part after the first =, of a file called a=b.csv its whole name
        typed = word if os.path.isfile(word) else word.partition("=")[2]
        if len(typed) > 1 and not os.path.isabs(typed) and os.path.isfile(typed):
            parts = re.split(rf"(?<![\w/.-]){re.escape(str(Path(typed).absolute()))}(?![\w/-]|\.\w)", text)
            text = typed.join(parts)
    return text


@contextmanager
def notices_as_typed(command: str, words: Sequence[str] = ()) -> Iterator[None]:
    """While the block runs, notices name options as `command` takes them, and files as in its `words`."""

    def rewrite(record: logging.LogRecord) -> bool:
        record.msg, record.args = paths_as_typed(as_typed(record.getMessage(), command), words), ()
        return True

    log = logging.getLogger("pynode")
    log.addFilter(rewrite)
    try:
        yield
    finally:
        log.removeFilter(rewrite)


def _dashed(name: str) -> str:
    return f"--{name.replace('_', '-')}"
