"""Options of a problem from the command line: --set name=value, typed by the problem's own `Options`."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from pynode.errors import InvalidArgument, UnknownName

if TYPE_CHECKING:
    from pynode.problems.base import Problem


def problem_options(problem: str, settings: list[str] | None, data: Path | None) -> dict[str, Any]:
    """Values of `--set name=value ...` and `--data FILE` for `problem`, typed; raises `UsageError`."""
    from pynode.problems import PROBLEMS

    kind = PROBLEMS.load(problem)
    known = {f.name: f for f in fields(kind.Options)}
    found: dict[str, Any] = {}
    if data is not None:
        if "data" not in known:
            raise InvalidArgument("--data", data, f"{problem} brings its own data", "use the problem csv or npy")
        found["data"] = str(data)
        if data.is_file():  # what is no file is told when it is read
            found["sha256"] = _digest(data)
    for setting in settings or []:
        name, equals, value = setting.partition("=")
        name = name.strip().replace("-", "_")
        if not equals:
            raise InvalidArgument("--set", repr(setting), "no NAME=VALUE", "write e.g. --set batch=500")
        if name not in known:
            if not known:
                raise InvalidArgument("--set", repr(setting), f"{problem} takes no options", "leave it out")
            raise UnknownName(f"option of {problem}", name, sorted(known))
        if name in found:
            raise InvalidArgument("--set", repr(setting), f"{name} is given twice", "give it once")
        found[name] = _parsed(kind, name, value.strip())
    return found


def _digest(path: Path) -> str:
    from pynode.datasets.errors import DataError
    from pynode.datasets.sources import file_digest

    try:
        return file_digest(path).hexadecimal
    except OSError as error:
        raise DataError(f"{path} can't be read ({error.strerror}); give a file that can") from error


def _parsed(kind: type[Problem], name: str, text: str) -> Any:
    hint = get_type_hints(kind.Options)[name]
    kinds = [hint] if get_origin(hint) is tuple else [*(get_args(hint) or (hint,))]
    if tuples := [k for k in kinds if get_origin(k) is tuple]:
        parts = [part.strip() for part in text.split(",") if part.strip()]
        return tuple(parts) if str in get_args(tuples[0]) else tuple(_number(name, part, int) for part in parts)
    if bool in kinds:
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if text.lower() not in words:
            raise InvalidArgument(f"--set {name}", text, "neither true nor false", "write true or false")
        return words[text.lower()]
    if int in kinds:
        return _number(name, text, int)
    return _number(name, text, float) if float in kinds else text


def _number(name: str, text: str, kind: type[int] | type[float]) -> float:
    try:
        return kind(text)
    except ValueError as error:
        raise InvalidArgument(f"--set {name}", repr(text), f"no {kind.__name__}", "give a number") from error
