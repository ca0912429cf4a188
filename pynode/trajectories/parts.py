"""Which rows a model is trained on, and which are held out to measure its forecasts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from pynode.datasets.splits import Array
from pynode.errors import InvalidArgument
from pynode.names import in_one_text, names_in
from pynode.trajectories.data import Trajectories
from pynode.wording import counted

Split: TypeAlias = Literal["time", "trajectory"]

SHARE = 0.2
"""Held out by default."""
LEAST_ROWS = 3
"""Rows of a trajectory of which the last are held out; shorter ones are trained on as a whole."""
NAME, NUMBER = "id:", "number:"
"""Before a text that could be both the name of a trajectory and a number."""
GIVEN = 2
"""First rows of a held-out trajectory that its state is found from."""


@dataclass(frozen=True)
class Parts:
    """Rows of each trajectory: `training` `(n,)` (bool), and those that forecasts of held-out rows may use, `known`."""

    kind: Split
    training: tuple[Array, ...]
    known: tuple[Array, ...]
    sentence: str

    @property
    def anything_held_out(self) -> bool:
        """Whether any row is a forecast."""
        return any((~known).any() for known in self.known)


def parts_of(
    series: Trajectories,
    split: Split | None,
    held_out: float | str | Sequence[str] | None,
    given: int | None,
) -> Parts:
    """The rows of each part: the last ones of each trajectory are held out, or whole trajectories.

    `held_out` is a share below 1, a number of rows (or trajectories) from 1 on, 0 for none, or names of trajectories.
    In text, `number:3` is a number and `id:3` a name.  Raises `InvalidArgument` for a trajectory that there is not, for
    the text of a whole number that is a trajectory's name as well, and where nothing would be left to train on.
    """
    if isinstance(held_out, str) and not held_out.strip(" ,"):
        raise InvalidArgument("held_out", repr(held_out), "empty", "give a share, a number, or names; 0 for none")
    held_out = _number(held_out, [] if split == "time" else [each.name for each in series.each])
    names = _names(held_out, [each.name for each in series.each])
    if names or split == "trajectory":
        if split == "time":
            remedy = "hold out whole trajectories (split=trajectory)"
            raise InvalidArgument("held_out", ", ".join(names), "names with a split by time", remedy)
        return _by_trajectory(series, names, held_out, GIVEN if given is None else given)
    if given is not None:
        remedy = "hold out whole trajectories (split=trajectory)"
        raise InvalidArgument("given", given, "no effect with a split by time", remedy)
    amount = SHARE if held_out is None else float(held_out)  # type: ignore[arg-type]
    _check_amount(amount)
    training = []
    for each in series.each:
        n = len(each.times)
        count = int(amount) if amount >= 1 else math.ceil(amount * n - 1e-9)
        mask = np.ones(n, bool)
        if amount and n >= LEAST_ROWS:
            mask[n - min(count, n - 2) :] = False
        training.append(mask)
    held = sum(int((~mask).sum()) for mask in training)
    share = f"{100 * amount:g} %" if amount < 1 else counted(int(amount), "row")
    whole = sum(bool(mask.all()) for mask in training)
    sentence = f"the last {share} of {'each trajectory' if len(series.each) > 1 else 'the rows'}"
    if not held:
        sentence = "nothing"
    elif whole:
        short = counted(whole, "trajectory", "trajectories")
        sentence += f"; {short} of fewer than {LEAST_ROWS} rows are trained on as a whole"
    return Parts("time", tuple(training), tuple(training), sentence)


def _by_trajectory(series: Trajectories, names: tuple[str, ...], held_out: object, given: int) -> Parts:
    known_names = [each.name for each in series.each]
    if len(known_names) < 2 and names:
        remedy = "give a share, or a number of rows"
        raise InvalidArgument("held_out", ", ".join(names), "a name, but there is one trajectory only", remedy)
    if len(known_names) < 2:
        remedy = "hold out its last rows (split=time), or name the column that tells trajectories apart (id=COLUMN)"
        raise InvalidArgument("split", "trajectory", "there is one trajectory only", remedy)
    if not names:
        amount = SHARE if held_out is None else float(held_out)  # type: ignore[arg-type]
        _check_amount(amount)
        count = int(amount) if amount >= 1 else math.ceil(amount * len(known_names) - 1e-9)
        names = tuple(known_names[len(known_names) - count :])
    for name in names:
        if name not in known_names:
            listed = ", ".join(in_one_text([other]) for other in known_names[:12])
            listed += ", ..." if len(known_names) > 12 else ""
            raise InvalidArgument("held_out", name, "no such trajectory", f"use names of {listed}")
    if len(names) >= len(known_names):
        raise InvalidArgument("held_out", ", ".join(names), "nothing is left to train on", "hold out fewer")
    if given < 0:
        raise InvalidArgument("given", given, "negative", "use 1 or 2")
    training, known = [], []
    for each in series.each:
        out = each.name in names
        rows = np.arange(len(each.times))
        training.append(np.full(len(rows), not out))
        known.append(rows < max(given, 1) if out else np.ones(len(rows), bool))
    listed = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return Parts(
        "trajectory",
        tuple(training),
        tuple(known),
        f"{counted(len(names), 'trajectory', 'trajectories')} ({listed}), forecast from the first "
        f"{counted(max(given, 1), 'row')}",
    )


def _number(held_out: float | str | Sequence[str] | None, names: Sequence[str]) -> float | str | Sequence[str] | None:
    """The number that a text stands for; anything else as it is.  Raises where it may as well be one of `names`."""
    if not isinstance(held_out, str):
        return held_out
    said = held_out.strip()
    text = said.removeprefix(NUMBER)
    try:
        value = float(text)
    except ValueError as error:
        if text == said:
            return held_out
        raise InvalidArgument("held_out", said, "no number", f"write e.g. {NUMBER}3") from error
    if said in names:
        remedy = f"write {NAME}{said} for the trajectory, or {NUMBER}{said} for so many rows or trajectories"
        raise InvalidArgument("held_out", said, "both a number and the name of a trajectory", remedy)
    return value


def _names(held_out: object, known: Sequence[str]) -> tuple[str, ...]:
    if held_out is None or isinstance(held_out, (int, float)):
        return ()
    if isinstance(held_out, str):
        parts = names_in("held_out", (held_out,), (*known, *(f"{NAME}{name}" for name in known)))
    else:
        parts = tuple(str(name).strip() for name in held_out)  # type: ignore[attr-defined]
    return tuple(part if part in known else part.removeprefix(NAME) for part in parts)


def _check_amount(amount: float) -> None:
    if not (math.isfinite(amount) and amount >= 0) or (amount >= 1 and amount != int(amount)):
        remedy = "use a share below 1 such as 0.2, a number of rows, or names of trajectories"
        raise InvalidArgument("held_out", amount, "neither a share nor a number", remedy)
