"""Advice: which setting pays on this problem; its tables and figures, from records alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pynode.studies.advice.cautions import cautions
from pynode.studies.advice.figure import draw_advice
from pynode.studies.advice.paste import command_options, expression
from pynode.studies.advice.recommendation import GOALS, TRAINING, Recommendation, bytes_text, recommend
from pynode.studies.advice.settings import Setting, front, settings_of
from pynode.studies.base import Study, Table, number
from pynode.studies.results import Results
from pynode.wording import COMMAND

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class AdviceStudy(Study):
    """Which method pays on a problem, with which settings."""

    name: ClassVar[str] = "advice"
    question: ClassVar[str] = "Which setting of which method pays on this problem?"

    def tables(self, results: Results) -> list[Table]:
        if not results.advice or not results.advice_weights:
            return []
        return [_recommended(results), _lines(results), _measured(results)]

    def figures(self, results: Results) -> dict[str, Figure | None]:
        return {"advice": draw_advice(results)}

    def finding(self, results: Results) -> str | None:
        best = next((r for r in _recommendations(results) if r.goal == TRAINING), None)
        if best is None:
            return None
        if best.setting is None:
            return f"No setting is recommended for training: {best.why}."
        return f"For training take {best.setting.label} ({best.sure}): {best.why}."


def _recommendations(results: Results) -> list[Recommendation]:
    return recommend(results.advice, results.advice_weights)


def lines_to_paste(results: Results) -> list[tuple[str, str]]:
    """For each goal that is reached: its name, and what to paste, a command for problems, else Python."""
    lines = []
    for r in _recommendations(results):
        if r.record is not None:
            line = next((w.config["line"] for w in results.advice_weights if w.config.get("line")), None)
            text = expression(r.record.method, r.record.options)
            if line:
                text = f"{COMMAND} {line} {command_options(r.record.method, r.record.options)}"
            lines.append((GOALS[r.goal], text))
    return lines


def _recommended(results: Results) -> Table:
    """One row a goal."""
    rows = []
    notes = []
    for r in _recommendations(results):
        setting = r.setting
        if setting is None:
            rows.append([GOALS[r.goal], "none", *["–"] * 5])
            notes.append(f"{GOALS[r.goal]}: {r.why}.")
            continue
        rows.append([GOALS[r.goal], setting.label, *_costs(setting), r.sure])
        doubts = f" But {'; '.join(d.text for d in r.doubts)}." if r.doubts else ""
        notes.append(f"{GOALS[r.goal]}: {r.why}.{doubts}")
    notes += cautions(results.advice, results.advice_weights)
    columns = ["goal", "setting", "gradient error", "evaluations", "ms", "memory", "sure"]
    return Table(f"Advice: {results.title}", columns, rows, notes)


def _lines(results: Results) -> Table:
    """What to paste for each goal."""
    rows = [[goal, line] for goal, line in lines_to_paste(results)]
    return Table(f"Advice: what to paste for {results.title}", ["goal", "line"], rows, long=True, code=("line",))


def _costs(setting: Setting) -> list[str]:
    error = "–" if setting.error is None else f"{setting.error:.1e}"
    return [error, f"{setting.evaluations:,}", _ms(setting), bytes_text(setting.memory)]


def _ms(setting: Setting) -> str:
    if setting.seconds is None or setting.timed is None:
        return "–"
    return number(1000 * setting.seconds) + ("" if setting.timed.is_steady else " *")


def _measured(results: Results) -> Table:
    """One row a setting and set of weights, those that were timed first."""
    weights = results.advice_weights
    settings = settings_of(results.advice, weights)
    best = {s.first.key for s in front(settings)}
    rows = []
    for setting in sorted(settings, key=lambda s: (s.seconds is None, s.seconds or 0.0)):
        for r in setting.records:
            timed = r.seconds is not None
            rows.append(
                [
                    f"{r.label}{' (front)' if timed and setting.first.key in best else ''}",
                    r.weights,
                    r.engine or "–",
                    "failed" if r.failure else ("–" if r.error is None else f"{r.error:.1e}"),
                    "–" if r.loss_error is None else f"{r.loss_error:+.1e}",
                    f"{r.nfe_forward:,}",
                    f"{r.nfe_backward:,}",
                    f"{r.n_vjp:,}",
                    _ms(setting) if timed else "–",
                    bytes_text(r.memory_bytes),
                    number(r.reached) if r.iterations else "–",
                    (setting.refused() or "will do") if timed or r.failure else "–",
                ]
            )
    columns = [
        *("setting", "weights", "engine", "error", "loss off by", "NFE-F", "NFE-B", "VJPs", "ms"),
        *("memory", "trial", "for training"),
    ]
    return Table(f"Advice: all that was measured on {results.title}", columns, rows, _notes(results), long=True)


def _notes(results: Results) -> list[str]:
    weights = results.advice_weights
    notes = [
        "error: distance of the gradient from that of the continuous problem, relative to it. For Disc-Opt it is no "
        "error of the gradient, which is exact for the loss as computed; what steps decide is (loss off by), the "
        "discretisation error of that loss, to be held against the fit. For Opt-Disc the gradient itself is off.",
        "(front): no other setting is both faster and more accurate. trial: the lowest loss near the end of a short "
        "training, solved accurately.",
    ]
    for w in weights:
        how = f" after {w.iterations} iterations of Adam at {w.learning_rate:g}" if w.iterations else ""
        known = ", reference not verified" if w.uncertainty is None else f" to {number(w.uncertainty, 2)}"
        rows = f", on {w.samples:,} rows" if w.samples > 1 else ""
        notes.append(
            f"{w.weights} weights{how}: loss {number(w.loss, 4)}, gradient {number(w.gradient_norm)}, by {w.reference}"
            f"{known}{rows}."
        )
    loads = [w.load for w in weights if w.load is not None]
    if loads:
        low, high = min(low for low, _ in loads), max(high for _, high in loads)
        batch = next((f"a batch of {w.timed_samples:,} rows" for w in weights if w.timed_samples > 1), "the whole loss")
        notes.append(
            f"ms: median of one loss and gradient on {batch}, in rounds; * where it scatters by more than 20 %. "
            f"Load average of the machine {low:.2f} to {high:.2f}."
        )
    return notes
