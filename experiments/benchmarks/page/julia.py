"""Blocks of pynode/julia/README.md: both methods through the bridge, SciML's adjoints, the case of reversed time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from experiments.benchmarks.page.made import listed, machine_of
from experiments.study.page import quantities as q
from experiments.study.page.markdown import EMPTY, table, wrapped
from experiments.study.page.problem_tables import command_of, commits_of
from experiments.study.page.published import DISC, OPT, ROOT, environments, place_of, runs_of
from experiments.study.page.words import word
from pynode.records.runs import Run
from pynode.studies.base import number
from pynode.studies.load import load_and_threads, load_text
from pynode.studies.reduction.spread import percent_with_range
from pynode.studies.reduction.study import engine_of, reductions

FOLDER = "spiral-julia"

FOOTINGS = {"eager": "torch operators", "fused": "compiled kernels", "julia": "Julia, loss and Adam in torch"}
"""Engines as the page calls them."""

PAIRS = ((DISC, OPT), (f"{DISC}-julia", f"{OPT}-julia"))
"""The two methods on torch's engines, and the same through the bridge."""

SHOWN_RTOL = 1e-7
"""Of the adjoints that the page shows."""

WRONG = 1e-2
"""Relative error of a gradient from which on it is called wrong."""


def _runs(method: str) -> list[Run]:
    """The finished runs of one method, by seed; none where there is no Julia, or no record."""
    part = runs_of(FOLDER)
    runs = [] if part is None else [run for run in part.runs if run.method == method and run.finished]
    return sorted(runs, key=lambda run: run.seed)


def _compared() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Disc-Opt, Opt-Disc and what the first saves, for each pair that has runs."""
    part = runs_of(FOLDER)
    for disc, opt in PAIRS:
        saved = {} if part is None else reductions(part, opt, disc)
        if saved and _runs(disc) and _runs(opt):
            yield disc, opt, saved


def _footing(method: str) -> str:
    engine = engine_of(_runs(method)[0].summary or {})
    return FOOTINGS.get(engine, engine)


def set_up() -> str:
    """Iterations, seeds, command, commit, machine and load."""
    runs = [run for pair in PAIRS for method in pair for run in _runs(method)]
    made, place = environments(FOLDER), place_of(FOLDER)
    if not runs or not made or place is None:
        return EMPTY
    iterations = listed(sorted({f"{run.config['iterations']:,}" for run in runs}))
    seeds = len({run.seed for run in runs})
    commands = ", then ".join(dict.fromkeys(map(command_of, made)))
    machines = listed(list(dict.fromkeys(map(machine_of, made))))
    records = f"[records](../../{place.relative_to(ROOT).as_posix()})"
    trained = f"Spiral, {iterations} iterations, the same weights, {word(seeds)} seed{'s' * (seeds > 1)}"
    load = f"load average {load_text(*load_and_threads(runs))}"
    return wrapped(f"{trained} ({commands}; {records}; {commits_of(made)}; {machines}; {load}):")


def footings() -> str:
    """Cost by torch's engine and through the bridge."""
    rows = [
        [
            _footing(disc),
            *(q.over_seeds(_runs(m), q.summary("seconds_per_iteration", 1e3)) for m in (disc, opt)),
            " / ".join(_bridge(m) for m in (disc, opt)),
            *(number(saved["seconds"][m]) for m in (disc, opt)),
            *(percent_with_range(saved, f"{kind}_reduction") for kind in ("time", "nfe", "evaluation")),
        ]
        for disc, opt, saved in _compared()
    ]
    per_iteration = ["Disc-Opt ms / iteration", "Opt-Disc ms / iteration", "of it the bridge, Disc-Opt / Opt-Disc"]
    until_matched = ["Disc-Opt s to the matched loss", "Opt-Disc s", "less time", "less NFE", "fewer evaluations"]
    return table(["", *per_iteration, *until_matched], rows)


def _bridge(method: str) -> str:
    """Milliseconds of an iteration in which data cross the bridge."""
    return q.over_seeds(_runs(method), q.summary("seconds_bridge", 1e3))


def losses() -> str:
    """Best and last validation loss of each setting."""
    by_method = [_runs(pair[k]) for pair in PAIRS for k in (0, 1)]
    rows = [[runs[0].setting, q.over_seeds(runs, q.best), q.over_seeds(runs, q.last)] for runs in by_method if runs]
    return table(["setting", "best validation loss", "last validation loss"], rows)


def finding() -> str:
    """What the bridge costs, and where Opt-Disc ends far above its best loss."""
    said = []
    for disc, _, saved in _compared():
        if disc != DISC:
            whole = q.over_seeds(_runs(disc), q.summary("seconds_per_iteration", 1e3))
            evaluations, time = _change(saved, "evaluation", "fewer"), _change(saved, "time", "less")
            said.append(
                f"Until the matched loss Disc-Opt through Julia needs {evaluations} evaluations and {time} time; of "
                f"the {whole} ms of its iteration the bridge takes {_bridge(disc)}."
            )
    ends = [f"{_footing(opt)} ({q.exploded(runs)} of {len(runs)})" for _, opt in PAIRS if (runs := _runs(opt))]
    if ends:
        said.append(f"Seeds in which Opt-Disc ends at more than ten times its best loss: {'; '.join(ends)}.")
    return wrapped(" ".join(said)) if said else ""


def _change(saved: dict[str, Any], kind: str, less: str) -> str:
    """A reduction in words: so much `less`, or more where it is negative."""
    key = f"{kind}_reduction"
    if saved[key] is None or saved[key] >= 0:
        return f"{percent_with_range(saved, key)} {less}"
    span = saved["ranges"][key]
    turned = {key: -saved[key], "ranges": {key: span and [-end for end in span[::-1]]}}
    return f"{percent_with_range(turned, key)} more"


def adjoints() -> str:
    """Work of SciML's adjoints on the untrained spiral."""
    rows = [
        [
            f"`{e['adjoint']}`",
            f"{e['vjp_by_state']} / {e['vjp_by_theta']}",
            str(e["nfe_backward"]),
            number(e["relative_error_theta"], 2),
        ]
        for e in _reference("direct/spiral")
        if e["rtol"] == SHOWN_RTOL
    ]
    return table(["adjoint", "products by state / by theta", "right-hand sides backwards", "gradient error"], rows)


def reversed_time() -> str:
    """The recorded adjoints that are wrong at every tolerance."""
    errors: dict[str, list[float]] = {}
    for entry in _reference("concatsquash-reversed"):
        errors.setdefault(entry["adjoint"], []).append(entry["relative_error_theta"])
    wrong = [every for every in errors.values() if min(every) > WRONG]
    if not wrong:
        return "No recorded adjoint is wrong at every tolerance."
    low, high = (f"{100 * pick(e for every in wrong for e in every):.1f}" for pick in (min, max))
    span = low if low == high else f"{low} to {high}"
    count = f"{len(wrong)} of the {len(errors)} recorded adjoints"
    return f"In reversed time {count} are off by {span} %, whatever the tolerance."


def _reference(name: str) -> list[dict[str, Any]]:
    """Gradients by Opt-Disc of a recorded case of SciML's."""
    text = (ROOT / "tests" / "reference" / f"{name}.json").read_text(encoding="utf-8")
    entries: list[dict[str, Any]] = json.loads(text)["opt_disc"]
    return entries
