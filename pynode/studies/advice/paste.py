"""A setting as it is pasted: options of the command line, or an expression in Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PUBLIC = ("dopri5", "euler", "heun", "midpoint", "rk38", "rk4", "tsit5")
"""Schemes that the package itself names, in capitals."""

CLASSES = {
    "disc-opt": "DiscOpt",
    "opt-disc": "OptDisc",
    "disc-opt-julia": "DiscOptJulia",
    "opt-disc-julia": "OptDiscJulia",
}

ALWAYS = ("scheme", "steps", "solver", "rtol", "atol", "adjoint")
"""Options that are always given: a problem may bring values of its own for them."""

USUAL: Mapping[str, Any] = {
    "memory": "store",
    "budget": None,
    "engine": "auto",
    "adjoint_rtol": None,
    "adjoint_atol": None,
    "adjoint_norm": "mixed",
    "landing": False,
}
"""Defaults of the other options that advice varies."""


def given_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a setting's options that have to be given."""
    always = {name: options[name] for name in ALWAYS if name in options}
    return always | {name: options[name] for name, usual in USUAL.items() if options.get(name, usual) != usual}


def command_options(method: str, options: Mapping[str, Any]) -> str:
    """The options of the command line that choose this setting."""
    words = ["--methods", method]
    for name, value in given_options(options).items():
        flag = f"--{name.replace('_', '-')}"
        words += [flag] if value is True else [flag, _text(value)]
    return " ".join(words)


def expression(method: str, options: Mapping[str, Any]) -> str:
    """The setting in Python, where `import pynode` has been done."""
    kind = CLASSES.get(method)
    if kind is None:
        return f"pynode.METHODS.load({method!r})({_arguments(options)})"
    return f"pynode.{kind}({_arguments(given_options(options))})"


def _arguments(options: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name}={_scheme(value) if name == 'scheme' else _value(value)}" for name, value in options.items()
    )


def _scheme(name: str) -> str:
    return f"pynode.{name.upper()}" if name in PUBLIC else f'pynode.SCHEMES.load("{name}")'


def _value(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    return _text(value) if isinstance(value, float) else repr(value)


def _text(value: Any) -> str:
    """A number as short as it is exact to three digits, tolerances by their exponent."""
    if isinstance(value, float):
        return f"{value:.3g}"
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
