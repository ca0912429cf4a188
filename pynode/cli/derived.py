"""Lets commands take every option of methods and runs: typer's parameters, made from what the dataclasses declare."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, get_args

import typer

from pynode.cli.options import AXES, ORDER, WHERE
from pynode.errors import InvalidArgument
from pynode.methods import METHODS
from pynode.settings.declared import Kind
from pynode.settings.help_text import described, metavar
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


@dataclass
class _Asked:
    """The command line that is being run; None where commands are looked at without one, and all show all options."""

    words: list[str] | None = None

    def names(self, command: str) -> bool:
        """Whether the command line names this command (its module, of which there is one a command)."""
        return self.words is None or command in self.words

    def methods(self) -> tuple[str, ...]:
        """The methods whose options can be given: those of pynode, and those from outside that are asked for."""
        words = self.words or []
        texts = [text for flag, text in pairwise(words) if flag in ("--methods", "--method")]
        named = [name.strip() for text in texts for name in text.split(",")]
        brought = [METHODS.name_of(name) for name in named if name not in sources(METHODS)]
        return (*sources(METHODS), *(name for name in dict.fromkeys(brought) if METHODS.origin(name) is not None))


_asked = _Asked()


@contextmanager
def asked_for(words: list[str]) -> Iterator[None]:
    """While the command line `words` runs, options are made for the commands that it names only: that is quicker."""
    before, _asked.words = _asked.words, words
    try:
        yield
    finally:
        _asked.words = before


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
    return lambda command: _WithOptions(command, only, varied or {}, hidden)


class _WithOptions:
    """A command and the parameters that it gets; typer reads the signature when it builds the command."""

    def __init__(
        self, command: Command, only: Collection[str] | None, varied: Mapping[str, str], hidden: Callable[[str], bool]
    ) -> None:
        self.command, self.only, self.varied, self.hidden = command, only, varied, hidden
        self.own = {n: p for n, p in inspect.signature(command, eval_str=True).parameters.items() if n != "given"}
        self.__name__, self.__doc__, self.__module__ = command.__name__, command.__doc__, command.__module__

    def __call__(self, **arguments: Any) -> None:
        of_methods = owners(_asked.methods())
        derived = {name: value for name, value in arguments.items() if name not in self.own and value is not None}
        given = Given(
            {name: value for name, value in derived.items() if name in of_methods},
            {name: value for name, value in derived.items() if name not in of_methods},
        )
        self.command(**{name: value for name, value in arguments.items() if name in self.own}, given=given)

    @property
    def __signature__(self) -> inspect.Signature:
        if not _asked.names(self.__module__.rpartition(".")[2]):
            return inspect.Signature()
        methods = _asked.methods()
        names = [n for n in (*owners(methods), *run_settings()) if n not in self.own]
        names = [n for n in names if self.only is None or n in self.only]
        derived = [_parameter(n, methods, self.varied.get(n), hidden=self.hidden(n)) for n in names]
        every = [p.replace(kind=p.KEYWORD_ONLY) for p in (*self.own.values(), *derived)]
        every.sort(key=lambda p: (place := _place(p), (p.name in names) is (place < len(ORDER))))
        return inspect.Signature(every)

    @property
    def __annotations__(self) -> dict[str, Any]:  # type: ignore[override]
        return {name: parameter.annotation for name, parameter in self.__signature__.parameters.items()}


def _place(parameter: inspect.Parameter) -> int:
    """Panels one after another; arguments first."""
    panels = [getattr(part, "rich_help_panel", None) for part in get_args(parameter.annotation)]
    return next((ORDER.index(panel) + 1 for panel in panels if panel in ORDER), 0)


@cache
def _parameter(name: str, methods: tuple[str, ...], varied: str | None, *, hidden: bool) -> inspect.Parameter:
    """The parameter for an option of methods or of runs; a single value of what is `varied` is refused."""
    kind, panel, text = _about(name, methods)
    plain = next((t for t in (int, float) if t in kind.types and not kind.types & {list, str}), str)
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
def _about(name: str, methods: tuple[str, ...]) -> tuple[Kind, str, str]:
    """What values an option takes, its panel, and its help: what it does, the methods that have it, its default."""
    of_methods = owners(methods).get(name)
    owned = of_methods or {"": run_settings()[name]}
    everyone = methods if of_methods else ()
    text, note = described(owned, everyone, {owner: usual(name, owner) for owner in owned})
    text = text.replace("[", r"\[")  # no markup
    panel = AXES[axis_of(name)] if of_methods else WHERE
    return shared_kind(owned.values()), panel, f"{text} [dim]{note}[/dim]" if note else text
