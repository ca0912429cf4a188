"""How options are described to a user: their values, what they do, who has them, and their defaults."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pynode.settings.declared import REQUIRED, Declared, Kind
from pynode.settings.values import shown, words_of

LONGEST_METAVAR = 20
"""Letters of the words that stand for a value; longer ones would leave no room for the help."""

MOST_NAMED = 3
"""Owners that are named where their option differs from that of others."""


def metavar(kind: Kind) -> str:
    """What stands for a value: the words that can be given where they are few, else a letter or WORD, NAME."""
    if kind.words:
        words = "|".join(kind.words)
        return words if len(words) <= LONGEST_METAVAR else "WORD"
    if bool in kind.types:
        return "true|false"
    if list in kind.types:
        return "N,..." if int in kind.parts else "NAME,..."
    return "N" if int in kind.types else "X" if float in kind.types else "NAME"


def described(owned: Mapping[str, Declared], everyone: Collection[str], defaults: Mapping[str, Any]) -> tuple[str, str]:
    """What an option does, with the words it takes, and a note: who of `everyone` has it, and its default.

    Each by owner where they differ.
    """
    texts = {owner: _with_words(option) for owner, option in owned.items()}
    text = _by_owner(texts)
    others = [name for name in everyone if name not in owned]
    whose = ", ".join(owned) if len(others) >= len(owned) else f"all but {', '.join(others)}" if others else "all"
    told = len(owned) <= MOST_NAMED and len(set(texts.values())) > 1  # the text names them
    default = _by_owner({owner: _value(defaults[owner]) for owner in owned}, "{text} ({owners})")
    notes = (f"For {whose}" if everyone and not told else "", f"Default: {default}" if default else "")
    return f"{text}." if text else "", " ".join(f"{note}." for note in notes if note)


def _with_words(option: Declared) -> str:
    """The help of an option, and the words that it takes where its metavar does not say them."""
    words = words_of(option.kind) if metavar(option.kind) in ("WORD", "NAME") else ()
    listed = f"{', '.join(words[:-1])} or {words[-1]}" if words else ""
    return f"{option.help.rstrip('.')} ({listed})" if listed and option.help else option.help.rstrip(".") or listed


def _by_owner(texts: Mapping[str, str], pattern: str = "{owners}: {text}") -> str:
    """The text that all share, or each of them with those whose it is; what most have comes last, as of the others."""
    owners: dict[str, list[str]] = {}
    for owner, text in texts.items():
        if text:
            owners.setdefault(text, []).append(owner)
    if len(owners) == 1:
        return next(iter(owners))
    listed = sorted(owners.items(), key=lambda item: len(item[1]))
    named = [(text, ", ".join(who) if len(who) <= MOST_NAMED else "others") for text, who in listed]
    return "; ".join(pattern.format(owners=who, text=text) for text, who in named)


def _value(value: Any) -> str:
    if value is None or value is REQUIRED or value == ():
        return ""
    return f"{value:g}" if type(value) is float else shown(value)
