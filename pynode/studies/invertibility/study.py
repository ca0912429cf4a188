"""RQ4: is a flow that was trained with coarse steps still invertible, and what does it say under other solvers?"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from pynode.studies.base import Study, Table, accuracy, complete_median, number
from pynode.studies.invertibility.by_training import by_steps, statement, training_tables, trainings
from pynode.studies.invertibility.grid_figure import draw_rediscretisation
from pynode.studies.invertibility.record import RediscretisationRecord, bounds, others, sizes
from pynode.studies.invertibility.training_figure import draw_training_steps
from pynode.studies.results import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Key = tuple[str, str, bool]
"""Trained by (with the discretisation of the training, where the record has it), scheme, adaptive."""


class Invertibility(Study):
    """Likelihood and inverse error of trained flows over schemes, steps and tolerances."""

    name: ClassVar[str] = "invertibility"
    question: ClassVar[str] = "Is the flow still invertible when trained with coarse steps?"

    def tables(self, results: Results) -> list[Table]:
        grid = others(results.rediscretised)
        by_training = training_tables(results.rediscretised, results.title)
        return [*by_training, *([_coarsest(grid, results.title), _all(grid, results.title)] if grid else [])]

    def figures(self, results: Results) -> dict[str, Figure | None]:
        return {
            "training_steps": draw_training_steps(results),
            "rediscretisation": draw_rediscretisation(results),
        }

    def finding(self, results: Results) -> str | None:
        """On training steps where flows were trained with several numbers of them, else on the steps of the use."""
        each = trainings(results.rediscretised)
        if any(len(family) > 1 for family in by_steps(each).values()):
            return statement(each)
        grid = others(results.rediscretised)
        parts = [
            f"{trained}: {_words(key, setting)}"
            for key, setting in _coarsest_invertible(grid).items()
            if (trained := key[0]) and key[1] in ("rk38", "rk4") and setting is not None
        ]
        if not parts:
            return None
        return f"Fewest steps with an inverse error below {bounds(grid)}: {'; '.join(parts)}."


def _words(key: Key, setting: float) -> str:
    return f"rtol {setting:.0e}" if key[2] else f"{setting:.0f} of {key[1]}"


def _grouped(records: list[RediscretisationRecord]) -> dict[Key, dict[float, list[RediscretisationRecord]]]:
    """Records of all seeds by key and setting, coarse settings first."""
    groups: dict[Key, dict[float, list[RediscretisationRecord]]] = {}
    for r in records:
        groups.setdefault((r.trained, r.scheme, r.adaptive), {}).setdefault(r.setting, []).append(r)
    return {key: dict(sorted(by.items(), reverse=key[2])) for key, by in groups.items()}


def _coarsest_invertible(records: list[RediscretisationRecord]) -> dict[Key, float | None]:
    """The coarsest setting from which on all finer ones keep every seed below the bound; None where there is none."""
    settings: dict[Key, float | None] = {}
    for key, by_setting in _grouped(records).items():
        coarsest = None
        for setting, part in reversed(by_setting.items()):
            if not all(r.inverse is not None and r.inverse < r.bound for r in part):
                break
            coarsest = setting
        settings[key] = coarsest
    return settings


def _coarsest(grid: list[RediscretisationRecord], title: str) -> Table:
    rows, groups = [], _grouped(grid)
    for key, setting in _coarsest_invertible(grid).items():
        part = groups[key].get(setting, []) if setting is not None else []
        label = "none" if setting is None else accuracy(setting, adaptive=key[2])
        step = "–" if key[2] or setting is None else f"T / {setting:.0f}"
        rows.append([key[0], key[1], label, step, *_medians(part)])
    columns = ["trained by", "used with", "coarsest", "largest step", "inverse error", "NLL", "NFE"]
    notes = [
        f"coarsest setting from which on every seed's inverse error stays below {bounds(grid)} (the worse direction, "
        f"mean 2-norm per sample, {sizes(grid)} test samples); T is a block's horizon."
    ]
    return Table(f"RQ4 Coarsest invertible discretisation: {title}", columns, rows, notes)


def _all(grid: list[RediscretisationRecord], title: str) -> Table:
    rows = [
        [
            *key[:2],
            accuracy(setting, adaptive=key[2]),
            *_medians(part),
            _median(part, lambda r: r.inverse_data_frobenius),
        ]
        for key, by_setting in _grouped(grid).items()
        for setting, part in by_setting.items()
    ]
    columns = ["trained by", "used with", "setting", "inverse error", "NLL", "NFE", "Frobenius / N"]
    notes = ["medians over seeds; Frobenius / N is the original study's figure, from data to base and back"]
    return Table(f"RQ4 Re-discretisation: {title}", columns, rows, notes, long=True)


def _medians(part: list[RediscretisationRecord]) -> list[str]:
    return [_median(part, lambda r: r.inverse), _median(part, lambda r: r.nll, 5), _median(part, lambda r: r.nfe)]


def _median(
    part: list[RediscretisationRecord], pick: Callable[[RediscretisationRecord], float | None], digits: int = 3
) -> str:
    return number(complete_median(map(pick, part)), digits)
