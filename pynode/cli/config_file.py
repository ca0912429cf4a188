"""Reads the options of a command from a TOML file (`--config`): what stands on the command line wins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from pynode.errors import UnknownName, UsageError
from pynode.settings.values import read_toml


def take_config(context: typer.Context, file: Path | None) -> Path | None:
    """Takes the values of a TOML file as defaults of the command's options."""
    if file is None or context.resilient_parsing:
        return file
    values = read_toml(file, f"--config {file}")
    params = {key: p for p in context.command.params if p.name and p.name != "config" for key in _keys(p)}
    for key in values:
        if key not in params:
            raise UnknownName(f"option in {file}", key, sorted(params))
    context.default_map = {str(params[k].name): _value(f"{file}: {k}", params[k], v) for k, v in values.items()}
    return file


def _keys(param: Any) -> list[str]:
    """The names of an option in a file: as on the command line, with underscores."""
    flags = [flag.lstrip("-").replace("-", "_") for flag in param.opts if flag.startswith("--")]
    return flags or [str(param.name)]


def _value(where: str, param: Any, value: Any) -> Any:
    """A value of the file as the command line would have it: text, a list of texts, or true and false for a flag."""
    if getattr(param, "is_flag", False):
        if not isinstance(value, bool):
            raise UsageError(f"{where} = {value!r}: neither true nor false; write true or false")
        return value
    if getattr(param, "multiple", False):
        if isinstance(value, dict):
            return [f"{name}={_setting(f'{where}.{name}', part)}" for name, part in value.items()]
        return [_text(where, part) for part in value] if isinstance(value, list) else [_text(where, value)]
    return _text(where, value)


def _setting(where: str, value: Any) -> str:
    """The value of `--set NAME=VALUE`, which may be true or false."""
    return str(value).lower() if isinstance(value, bool) else _text(where, value)


def _text(where: str, value: Any) -> str:
    """A value as a word of the command line; raises `UsageError` for one that is none."""
    if isinstance(value, list) and not any(isinstance(part, list) for part in value):
        return ",".join(_text(where, part) for part in value)
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        kind = "true or false" if isinstance(value, bool) else f"a {type(value).__name__}"
        raise UsageError(f"{where}: {kind} is no value of this option; write a number, a text or a list of them")
    return str(value)
