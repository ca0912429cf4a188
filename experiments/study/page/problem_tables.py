"""The tables of one problem: what was run, how it ended, what was saved, seed by seed, and how it was made."""

from __future__ import annotations

from functools import partial
from pathlib import PurePath
from typing import Any

from experiments.study.page import quantities as q
from experiments.study.page.cuts import is_of
from experiments.study.page.markdown import EMPTY, table, wrapped
from experiments.study.page.net import net_of, rows_of, weights_of
from experiments.study.page.overfit import overfit
from experiments.study.page.published import environments, linked, place_of
from experiments.study.page.sections import SECTIONS, compared, runs_in
from experiments.study.progress import done_in
from pynode.studies.base import number, percent
from pynode.studies.load import load_and_threads, load_text
from pynode.studies.reduction.spread import percent_with_range
from pynode.studies.suite.study import Comparison


def runs(problem: str) -> str:
    """What was run: rows, net, weights, seeds, and how the runs of each method ended."""
    rows = []
    for c in compared(problem):
        disc, opt = runs_in(c)
        rows.append(
            [
                linked(c.folder),
                c.engine,
                rows_of([c.method, *disc, *opt]),
                net_of(c.method, SECTIONS[problem].problem),
                weights_of(c.method),
                str(c.seeds),
                q.ended(disc),
                q.ended(opt),
            ]
        )
    return table(
        ["records", "engine", "rows", "net", "weights", "seeds", "Disc-Opt ended after", "Opt-Disc ended after"], rows
    )


def quality(problem: str) -> str:
    """Losses at the best iteration and at the last one, quality of the best weights, and cost of an iteration."""
    rows = []
    is_flow = any("test_nll" in (c.method.summary or {}) for c in compared(problem))
    for c in compared(problem):
        for name, of_method in zip(("Disc-Opt", "Opt-Disc"), runs_in(c), strict=True):
            digits = q.digits_of(of_method)
            done = [run for run in of_method if run.finished]
            test = q.summary("test_nll" if is_flow else "extrapolation_mse")
            rows.append(
                [
                    c.folder,
                    c.engine,
                    f"{name}, `{done[0].setting}`",
                    q.over_seeds(done, q.best, digits),
                    q.over_seeds(done, q.last, digits),
                    q.over_seeds(done, test, digits),
                    q.over_seeds(done, q.summary("seconds_per_iteration", 1e3)),
                    q.over_seeds(done, q.summary("nfe_forward")),
                    q.over_seeds(done, q.summary("nfe_backward")),
                ]
            )
    loss, tested = ("NLL", "test NLL") if is_flow else ("loss", "extrapolation MSE")
    columns = ["records", "engine", "method", f"best validation {loss}", f"last validation {loss}"]
    columns.append(f"{tested}, best weights")
    return table([*columns, "ms / iteration", "NFE-F", "NFE-B"], rows)


def reduction(problem: str) -> str:
    """What Disc-Opt saves until the matched loss is reached."""
    rows = []
    for c in compared(problem):
        r = c.reduction
        rows.append(
            [
                c.folder,
                c.engine,
                number(r["matched_loss"], 4),
                *(number(r["seconds"][r[end]]) for end in ("baseline", "method")),
                *(percent_with_range(r, f"{kind}_reduction") for kind in ("time", "nfe", "evaluation")),
                load_text(r["load_average"], r["threads"]),
            ]
        )
    columns = ["records", "engine", "matched loss", "Opt-Disc s", "Disc-Opt s"]
    return table([*columns, "less time", "less NFE", "fewer evaluations", "load"], rows)


def seeds(problem: str) -> str:
    """What each seed says, so that no median hides it."""
    rows = []
    for c in compared(problem):
        if c.seeds < 2:
            continue
        disc, opt = ({run.seed: run for run in of_method} for of_method in runs_in(c))
        for entry in c.reduction["seeds"]:
            pair = disc[entry["seed"]], opt[entry["seed"]]
            digits = q.digits_of(pair)
            seconds = [entry["seconds"][c.reduction[end]] for end in ("baseline", "method")]
            iterations = [s.iterations if (s := q.spent(r, entry["matched_loss"])) else None for r in pair[::-1]]
            rows.append(
                [
                    f"{c.folder}, {entry['seed']}",
                    c.engine,
                    *(" / ".join(number(of(run), digits) for run in pair) for of in (q.best, q.last)),
                    *(number(s) for s in seconds),
                    *(number(i) for i in iterations),
                    *(percent(entry[f"{kind}_reduction"]) for kind in ("time", "nfe", "evaluation")),
                    load_text(*load_and_threads(pair)),
                ]
            )
    columns = ["records, seed", "engine", "best loss", "last loss", "Opt-Disc s", "Disc-Opt s"]
    columns += ["Opt-Disc iterations", "Disc-Opt iterations", "less time", "less NFE", "fewer evaluations", "load"]
    return table(columns, rows)


def factors(problem: str) -> str:
    """What the seconds until the matched loss are made of, Opt-Disc / Disc-Opt."""
    rows = []
    for c in compared(problem):
        mine = c.reduction["factors"]

        def both(key: str, scale: float = 1.0, mine: dict[str, Any] = mine, c: Comparison = c) -> str:
            values = [mine[key][c.reduction[end]] for end in ("baseline", "method")]
            return " / ".join(number(None if v is None else scale * v) for v in values)

        per = [both("iterations"), both("evaluations"), both("per_evaluation", 1e6), both("optimiser", 1e6)]
        rows.append([c.folder, c.engine, *per])
    columns = ["iterations", "evaluations per iteration", "µs per evaluation", "µs of the optimiser per iteration"]
    return table(["records", "engine", *columns], rows)


def commands(problem: str) -> str:
    """A line for each folder: command, commit, and the load of the machine."""
    lines = []
    for folder in dict.fromkeys(c.folder for c in compared(problem)):
        made = environments(folder)
        told = dict.fromkeys([*map(command_of, made), *_others(folder, made)])
        lines.append(f"- {linked(folder)}: {', then '.join(told)}; {commits_text(folder)}.")
    return wrapped("\n".join(lines)) if lines else EMPTY


def _others(folder: str, made: list[dict[str, Any]]) -> list[str]:
    """The commands of a part of the study that leave no record of their own on how they were made, as planned."""
    place = place_of(folder)
    done = [] if place is None else [d.command for d in done_in(place)]
    unsaid = [command for command in done if not any(is_of(environment, command) for environment in made)]
    planned = [" ".join(command).replace("{out}", f"results/study/{folder}") for command in unsaid]
    return [f"`{command}`" for command in planned]


def command_of(environment: dict[str, Any]) -> str:
    """The command behind `python experiments/run.py`, as it was given."""
    words = [_portable(str(word)) for word in environment["command"][1:]]
    return f"`{' '.join(words)}`" if words else "`run.py` without arguments"


def _portable(word: str) -> str:
    """A word of a command without the folders of the machine that it ran on."""
    return PurePath(word).name if PurePath(word).is_absolute() else word


def commits_of(made: list[dict[str, Any]]) -> str:
    """The commits that records were made by, with days, and whether their code had changes."""
    told = []
    for environment in made:
        git = environment.get("git")
        commit = "not recorded" if not git else f"`{git['commit'][:7]}`"
        changed = " with uncommitted changes" if git and git["changed"] else ""
        told.append(f"commit {commit}{changed} ({environment['time'][:10]})")
    return ", ".join(dict.fromkeys(told)) or "commit not recorded"


def commits_text(folder: str) -> str:
    """The commits of a folder: those that its records tell, and those of commands that left no such record."""
    made, place = environments(folder), place_of(folder)
    told = {environment["git"]["commit"] for environment in made if environment.get("git")}
    others = [] if place is None else [d.commit for d in done_in(place) if d.commit not in told]
    said = [commits_of(made)] if made or not others else []
    return ", ".join([*said, *(f"commit `{commit[:7]}`" for commit in dict.fromkeys(others))])


TABLES = {
    "runs": runs,
    "quality": quality,
    "reduction": reduction,
    "seeds": seeds,
    "factors": factors,
    "overfit": overfit,
    "commands": commands,
}


LEADS = {
    "seeds": "By seed (losses Disc-Opt / Opt-Disc):",
    "factors": "What the seconds until the matched loss are made of (Opt-Disc / Disc-Opt):",
    "overfit": "Training loss (mean of the batches since the validation before) and validation loss:",
}
"""What stands above some tables."""


def blocks_of(problem: str) -> dict[str, Any]:
    """What makes each block of a problem, by the block's name: `spiral-runs` and so on."""
    return {f"{problem}-{name}": partial(block, problem, name) for name in TABLES}


def block(problem: str, name: str) -> str:
    """A table of a problem with what stands above it; where there is no row, only the table of runs says so."""
    made = TABLES[name](problem)
    if made == EMPTY:
        return made if name == "runs" else ""
    return f"{LEADS[name]}\n\n{made}" if name in LEADS else made
