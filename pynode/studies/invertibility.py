"""RQ4: is a flow that was trained with coarse steps still invertible, and what does it say under other solvers?"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import TYPE_CHECKING, ClassVar

from pynode.figures import rediscretisation as figure
from pynode.records.rediscretisation import RediscretisationRecord
from pynode.records.results import Results
from pynode.studies.base import Study, Table, number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Key = tuple[str, str, bool]
"""Trained by, scheme, adaptive."""


class Invertibility(Study):
    """Likelihood and inverse error of trained flows over schemes, steps and tolerances."""

    name: ClassVar[str] = "invertibility"
    question: ClassVar[str] = "Is the flow still invertible when trained with coarse steps?"

    def tables(self, results: Results) -> list[Table]:
        if not results.rediscretised:
            return []
        return [_coarsest(results), _all(results)]

    def figures(self, results: Results) -> dict[str, Figure | None]:
        return {"rediscretisation": figure.draw(results)}

    def finding(self, results: Results) -> str | None:
        found = [
            f"{method}: {_words(key, setting)}"
            for key, setting in _coarsest_invertible(results.rediscretised).items()
            if (method := key[0]) and key[1] in ("rk38", "rk4") and setting is not None
        ]
        if not found:
            return None
        bound = results.rediscretised[0].bound
        return f"Fewest steps with an inverse error below {bound:g}: {'; '.join(found)}."


def _words(key: Key, setting: float) -> str:
    return f"rtol {setting:.0e}" if key[2] else f"{setting:.0f} of {key[1]}"


def _grouped(records: list[RediscretisationRecord]) -> dict[Key, dict[float, list[RediscretisationRecord]]]:
    """Records of all seeds by key and setting, coarse settings first."""
    found: dict[Key, dict[float, list[RediscretisationRecord]]] = {}
    for r in records:
        found.setdefault((r.trained_by, r.scheme, r.adaptive), {}).setdefault(r.setting, []).append(r)
    return {key: dict(sorted(by.items(), reverse=key[2])) for key, by in found.items()}


def _coarsest_invertible(records: list[RediscretisationRecord]) -> dict[Key, float | None]:
    """The coarsest setting from which on all finer ones keep every seed below the bound; None where there is none."""
    found: dict[Key, float | None] = {}
    for key, by_setting in _grouped(records).items():
        coarsest = None
        for setting, part in reversed(by_setting.items()):
            if not all(r.inverse is not None and r.inverse < r.bound for r in part):
                break
            coarsest = setting
        found[key] = coarsest
    return found


def _coarsest(results: Results) -> Table:
    rows = []
    for key, setting in _coarsest_invertible(results.rediscretised).items():
        part = _grouped(results.rediscretised)[key].get(setting, []) if setting is not None else []
        label = "none" if setting is None else (f"rtol {setting:.0e}" if key[2] else f"{setting:.0f} steps")
        step = "–" if key[2] or setting is None else f"T / {setting:.0f}"
        rows.append([key[0], key[1], label, step, *_medians(part)])
    bound = results.rediscretised[0].bound
    columns = ["trained by", "used with", "coarsest", "largest step", "inverse error", "NLL", "NFE"]
    notes = [
        f"coarsest setting from which on every seed's inverse error stays below {bound:g} (the worse direction, mean "
        f"2-norm per sample, {results.rediscretised[0].samples} test samples); T is a block's horizon."
    ]
    return Table(f"RQ4 Coarsest invertible discretisation: {results.problem}", columns, rows, notes)


def _all(results: Results) -> Table:
    rows = [
        [*key[:2], f"rtol {setting:.0e}" if key[2] else f"{setting:.0f} steps", *_medians(part), _frobenius(part)]
        for key, by_setting in _grouped(results.rediscretised).items()
        for setting, part in by_setting.items()
    ]
    columns = ["trained by", "used with", "setting", "inverse error", "NLL", "NFE", "Frobenius / N"]
    notes = ["medians over seeds; Frobenius / N is the original study's figure, from data to base and back"]
    return Table(f"RQ4 Re-discretisation: {results.problem}", columns, rows, notes, long=True)


def _medians(part: list[RediscretisationRecord]) -> list[str]:
    return [_median(part, lambda r: r.inverse), _median(part, lambda r: r.nll, 5), _median(part, lambda r: r.nfe)]


def _frobenius(part: list[RediscretisationRecord]) -> str:
    return _median(part, lambda r: r.inverse_data_frobenius)


def _median(
    part: list[RediscretisationRecord], pick: Callable[[RediscretisationRecord], float | None], digits: int = 3
) -> str:
    values = [v for v in map(pick, part) if v is not None]
    return number(median(values) if values and len(values) == len(part) else None, digits)
