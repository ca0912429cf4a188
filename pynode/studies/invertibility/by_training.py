"""RQ4 by the discretisation of the training: likelihood and inverse error, as trained and by dopri5."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from pynode.studies.base import Table, number
from pynode.studies.invertibility.record import RediscretisationRecord, Use, bounds, sizes

Pick = Callable[[RediscretisationRecord], "float | None"]

USES: dict[Use, str] = {
    "training": "as trained",
    "evaluation": "by dopri5",
    "mixed": "as trained, back by dopri5",
}
"""The ways in which a trained flow is used, and their names in tables and figures."""


@dataclass(frozen=True)
class Training:
    """Flows that were trained alike but for the seed, and their records in each use, in the order of seeds."""

    name: str
    method: str
    scheme: str
    steps: int | None
    records: dict[Use, list[RediscretisationRecord]]

    def values(self, use: Use, pick: Pick) -> list[float] | None:
        """One value a seed; None where there is no record of this use, or where one of them lacks the value."""
        values = [pick(record) for record in self.records.get(use, [])]
        known = [value for value in values if value is not None]
        return known if known and len(known) == len(values) else None

    def keeps_an_inverse(self, use: Use) -> bool:
        """Whether every seed's inverse error, of the worse direction, is below its bound."""
        records = self.records.get(use, [])
        return bool(records) and all(r.inverse is not None and r.inverse < r.bound for r in records)

    def nll_gap(self) -> list[float] | None:
        """NLL as trained less that by dopri5, one a seed; None where one of them is missing."""
        both = [{r.seed: r.nll for r in self.records.get(use, [])} for use in ("training", "evaluation")]
        pairs = [(nll, both[1].get(seed)) for seed, nll in both[0].items()]
        gaps = [a - b for a, b in pairs if a is not None and b is not None]
        return gaps if gaps and len(gaps) == len(pairs) else None


def trainings(records: Iterable[RediscretisationRecord]) -> list[Training]:
    """The trainings that `records` tell of: those with steps, fewest first, then the adaptive ones, loosest first."""
    groups: dict[str, dict[Use, list[RediscretisationRecord]]] = {}
    for record in sorted((r for r in records if r.use != "other"), key=lambda r: r.seed):
        groups.setdefault(record.trained, {}).setdefault(record.use, []).append(record)
    first = {name: next(iter(uses.values()))[0] for name, uses in groups.items()}

    def order(name: str) -> tuple[bool, str, str, float]:
        record = first[name]
        accuracy = float(record.trained_steps or 0) or -(record.trained_rtol or 0.0)
        return record.trained_steps is None, record.trained_by, record.trained_scheme, accuracy

    return [
        Training(name, first[name].trained_by, first[name].trained_scheme, first[name].trained_steps, groups[name])
        for name in sorted(groups, key=order)
    ]


def by_steps(each: Iterable[Training]) -> dict[tuple[str, str], list[Training]]:
    """Trainings with fixed steps by method and scheme, fewest steps first."""
    families: dict[tuple[str, str], list[Training]] = {}
    for training in each:
        if training.steps is not None:
            families.setdefault((training.method, training.scheme), []).append(training)
    return families


def fewest_steps(family: Sequence[Training], use: Use) -> int | None:
    """The fewest training steps from which on all trainings of `family` keep an inverse; None where there are none."""
    fewest = None
    for training in reversed(family):
        if not training.keeps_an_inverse(use):
            break
        fewest = training.steps
    return fewest


def statement(each: Sequence[Training]) -> str | None:
    """The coarsest trainings that leave an inverse, in a sentence for each method and scheme; None without any."""
    families = by_steps(each)
    if not families:
        return None
    records = records_of(families.values())
    parts = [
        f"{method} {scheme}: {_from_on(family, 'training')} used as trained, {_from_on(family, 'evaluation')} by dopri5"
        for (method, scheme), family in families.items()
    ]
    return (
        f"Training steps from which on every seed's flow keeps an inverse error below {bounds(records)} "
        f"({sizes(records)} test samples): {'; '.join(parts)}.{''.join(map(_gap, families.values()))}"
    )


def _gap(family: Sequence[Training]) -> str:
    """What the fewest steps do to the likelihood, as a further sentence."""
    gaps = family[0].nll_gap()
    if gaps is None:
        return ""
    gap = median(gaps)
    return (
        f" Trained with {family[0].steps} of {family[0].scheme}, the NLL as trained is {number(abs(gap), 2)} nats "
        f"{'below' if gap < 0 else 'above'} that of the same weights by dopri5."
    )


def _from_on(family: Sequence[Training], use: Use) -> str:
    tried = [str(training.steps) for training in family]
    fewest = fewest_steps(family, use)
    if fewest is None:
        return f"none of {', '.join(tried)}"
    return f"{fewest} (of {', '.join(tried)})"


def training_tables(records: Iterable[RediscretisationRecord], title: str) -> list[Table]:
    """What training steps do to likelihood and inverse; then both norms in both directions.  Empty without records."""
    each = trainings(records)
    return [_summary(each, title), _norms(each, title)] if each else []


def spread(values: Sequence[float] | None, digits: int = 3) -> str:
    """The median, with the range in brackets where there are several values that differ."""
    if values is None:
        return "–"
    middle, low, high = (number(value, digits) for value in (median(values), min(values), max(values)))
    return middle if low == high else f"{middle} ({low} to {high})"


def _summary(each: Sequence[Training], title: str) -> Table:
    rows = [
        [
            training.name,
            "–" if training.steps is None else f"T / {training.steps}",
            *(spread(training.values(use, lambda r: r.nll), 5) for use in ("training", "evaluation")),
            spread(training.nll_gap(), 2),
            *(spread(training.values(use, lambda r: r.inverse)) for use in USES),
        ]
        for training in each
    ]
    columns = [
        "trained by",
        "training step",
        "NLL as trained",
        "NLL by dopri5",
        "as trained - dopri5",
        *(f"inverse error {name}" for name in USES.values()),
    ]
    return Table(f"RQ4 Training steps: {title}", columns, rows, [_how(each), *_said(statement(each))])


def _how(each: Sequence[Training]) -> str:
    records = records_of([each])
    seeds = {record.seed for record in records}
    solves = sorted({_tolerances(r) for training in each for r in training.records.get("evaluation", [])})
    several = "s: medians with range" if len(seeds) > 1 else ""
    return (
        f"{sizes(records)} test samples; {len(seeds)} seed{several}; dopri5 at {' or '.join(solves) or '–'}. NLL in "
        "nats, with exact trace. As trained, the NLL is an integral by few steps and no likelihood of a density: where "
        "it is below that by dopri5, training has used the error of its own discretisation. Inverse error: mean 2-norm "
        "per sample, the worse direction, in units of the standardised data; a dash where a solve failed or nothing "
        "was measured."
    )


def records_of(families: Iterable[Sequence[Training]]) -> list[RediscretisationRecord]:
    """All records of several families of trainings."""
    return [r for family in families for training in family for part in training.records.values() for r in part]


def _tolerances(record: RediscretisationRecord) -> str:
    atol = record.setting if record.atol is None else record.atol
    return f"rtol {record.setting:.0e}, atol {atol:.0e}"


def _said(sentence: str | None) -> list[str]:
    return [] if sentence is None else [sentence]


DIRECTIONS: dict[str, tuple[Pick, Pick]] = {
    "from data": (lambda r: r.inverse_data, lambda r: r.inverse_data_frobenius),
    "from base": (lambda r: r.inverse_base, lambda r: r.inverse_base_frobenius),
}
"""Round trips by where they begin and end, and their errors in both norms."""


def _norms(each: Sequence[Training], title: str) -> Table:
    rows = [
        [training.name, name, direction, *(spread(training.values(use, pick)) for pick in picks)]
        for training in each
        for use, name in USES.items()
        if use in training.records
        for direction, picks in DIRECTIONS.items()
    ]
    columns = ["trained by", "used", "round trip", "mean 2-norm", "Frobenius / N"]
    notes = [
        "Round trips from data to the base and back, or from the base to data and back. Frobenius / N: norm over all "
        "samples divided by their number, as the study has it; it falls like 1 / sqrt(N)."
    ]
    return Table(f"RQ4 Inverse errors by training: {title}", columns, rows, notes, long=True)
