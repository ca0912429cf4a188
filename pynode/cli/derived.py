"""Lets commands take every option of methods and runs: typer's parameters, made from what the dataclasses declare."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, get_args

import typer

from pynode.cli.options import AXES, PANELS, WHERE
from pynode.errors import InvalidArgument
from pynode.methods import METHODS
from pynode.settings.declared import Declared, Kind
from pynode.settings.described import described, metavar
from pynode.settings.known import SHORT, axis_of, method_options, owners, run_settings, shared_kind, sources, usual
from pynode.settings.values import from_text, shown

POSED = ("device", "faithful")
"""Settings that matter where nothing is trained; gradients are always checked in float64."""

Command = Callable[..., None]


@dataclass(frozen=True)
class Given:
    """Options that were given, on the command line or in its file: of methods, and settings of the run."""

    methods: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def of(self, method: str) -> dict[str, Any]:
        """Those that the method called `method` has."""
        return {name: value for name, value in self.methods.items() if name in method_options(method)}

    def check_posed(self, why: str, remedy: str) -> None:
        """Raises `InvalidArgument` for a setting of the training, where there is none."""
        for name, value in self.settings.items():
            if name not in POSED:
                raise InvalidArgument(flag(name), shown(value), why, remedy)


def with_options(
    *,
    only: Collection[str] | None = None,
    varied: Mapping[str, str] | None = None,
    hidden: Callable[[str], bool] = lambda name: False,  # noqa: ARG005
) -> Callable[[Command], Command]:
    """Lets a command take all options of methods and runs (or `only` some), and get them as its argument `given`.

    A parameter of the command's own goes before an option of its name.  `varied` are options whose values the command
    varies by an option of its own, which the error for a single value names; `hidden` ones are not listed by `--help`.
    """

    def decorate(command: Command) -> Command:
        own = inspect.signature(command, eval_str=True).parameters
        methods = _owners()
        names = [n for n in (*methods, *run_settings()) if n not in own and (only is None or n in only)]
        derived = [_parameter(n, (varied or {}).get(n), hidden=hidden(n)) for n in names]

        @functools.wraps(command)
        def run(**arguments: Any) -> None:
            values = {name: value for name in names if (value := arguments.pop(name)) is not None}
            of_methods = {name: value for name, value in values.items() if name in methods}
            given = Given(of_methods, {name: value for name, value in values.items() if name not in methods})
            command(**arguments, given=given)

        every = [p.replace(kind=p.KEYWORD_ONLY) for p in (*own.values(), *derived) if p.name != "given"]
        every.sort(key=lambda p: (place := _place(p), (p.name in names) is (place < len(PANELS))))
        del run.__wrapped__  # whose hints typer would read
        run.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in every}
        return run

    return decorate


def _place(parameter: inspect.Parameter) -> int:
    """Panels one after another; arguments first."""
    panels = [getattr(part, "rich_help_panel", None) for part in get_args(parameter.annotation)]
    return next((PANELS.index(panel) + 1 for panel in panels if panel in PANELS), 0)


@cache
def _parameter(name: str, varied: str | None, *, hidden: bool) -> inspect.Parameter:
    """The parameter for an option of methods or of runs; a single value of what is `varied` is refused."""
    kind, panel, text = _about(name)
    plain = next((t for t in (int, float) if t in kind.types and list not in kind.types), str)
    argument = flag(name)
    texts = [argument, *map(flag, SHORT.get(name, ()))]
    if kind.is_flag:
        plain, texts[0] = bool, f"{argument}/--no-{argument[2:]}"

    def take(value: Any) -> Any:
        if value is None:
            return None
        if varied:
            remedy = f"give the values to {varied}"
            raise InvalidArgument(argument, shown(value), "this command varies it", remedy)
        return from_text(argument, value, kind) if isinstance(value, str) else value

    option = typer.Option(
        *texts,
        metavar=None if kind.is_flag else metavar(kind),
        help=f"Varied by this command: see {varied}." if varied else text,
        rich_help_panel=panel,
        callback=take,
        show_default=False,
        hidden=hidden,
    )
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[plain | None, option]
    )


def flag(name: str) -> str:
    """An option as it stands on the command line."""
    return f"--{name.replace('_', '-')}"


@cache
def _owners() -> Mapping[str, Mapping[str, Declared]]:
    """The options of all methods."""
    return owners(sources(METHODS))


@cache
def _about(name: str) -> tuple[Kind, str, str]:
    """What values an option takes, its panel, and its help: what it does, the methods that have it, its default."""
    of_methods = _owners().get(name)
    owned = of_methods or {"": run_settings()[name]}
    everyone = sources(METHODS) if of_methods else ()
    text, note = described(owned, everyone, {owner: usual(name, owner) for owner in owned})
    text = text.replace("[", r"\[")  # no markup
    panel = AXES[axis_of(name)] if of_methods else WHERE
    return shared_kind(owned.values()), panel, f"{text} [dim]{note}[/dim]" if note else text
