"""Tables of experiments/README.md on the problems: the spiral, 8gaussians, flows in many columns."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from pynode.problems.density.toys import Toy
from pynode.records.runs import Run
from pynode.studies.base import number, percent
from pynode.studies.reduction.study import reductions
from pynode.studies.suite.study import Suite
from tests.readme import published as p
from tests.readme.pages import row

DISC, OPT = "disc-opt", "opt-disc"
SPIRAL = (("spiral", DISC), ("spiral", OPT), ("spiral-eager", DISC), ("spiral-eager", OPT))


def overview() -> list[str]:
    """All comparisons in one table."""
    table = Suite().tables(p.suite())[0]
    return [row(*cells[:10]) for cells in table.rows]


def spiral() -> list[str]:
    """The spiral on two engines, one seed."""

    def cells(of: Callable[[Run, float], str]) -> list[str]:
        return [of(p.runs(folder, m)[0], p.matched(folder, 0, DISC, OPT)) for folder, m in SPIRAL]

    def entry(key: str, scale: float = 1.0) -> list[str]:
        return [number(p.value(folder, m, key, scale)) for folder, m in SPIRAL]

    def nfe() -> list[str]:
        return [f"{a} / {b}" for a, b in zip(entry("nfe_forward"), entry("nfe_backward"), strict=True)]

    def less(key: str) -> list[str]:
        return [text for f in ("spiral", "spiral-eager") for text in (percent(reductions(p.part(f))[key]), "")]

    return [
        row("best validation loss", *cells(lambda r, _: number(p.best(r)))),
        row("last validation loss", *cells(lambda r, _: number(p.last(r)))),
        row("ms per iteration (median)", *entry("seconds_per_iteration", 1e3)),
        row("NFE-F / NFE-B per iteration (mean)", *nfe()),
        row("iterations until the matched loss", *cells(lambda r, q: f"{p.spent(r, q).iterations}")),
        row("seconds until the matched loss", *cells(lambda r, q: number(p.spent(r, q).seconds))),
        row("NFE until the matched loss", *cells(lambda r, q: number(p.spent(r, q).nfe))),
        row("evaluations per iteration, with products", *cells(lambda r, q: number(_evaluations(r, q)))),
        row("µs per evaluation, the engine's overhead included", *cells(lambda r, q: number(1e6 * _each(r, q)))),
        row("Disc-Opt needs less time", *less("time_reduction")),
        row("Disc-Opt needs less NFE", *less("nfe_reduction")),
        row("Disc-Opt needs fewer evaluations, with products", *less("evaluation_reduction")),
    ]


def _evaluations(run: Run, target: float) -> float:
    spent = p.spent(run, target)
    return spent.evaluations / spent.iterations


def _each(run: Run, target: float) -> float:
    spent = p.spent(run, target)
    return spent.solving / spent.evaluations


def by_seed(folder: str) -> list[str]:
    """What each seed says, so that nobody takes the median for all of them."""
    found = []
    for entry in reductions(p.part(folder))["seeds"]:
        seed, target = entry["seed"], entry["matched_loss"]
        both = [next(r for r in p.runs(folder, m) if r.seed == seed) for m in (OPT, DISC)]
        spent = [p.spent(run, target) for run in both]
        found.append(
            row(
                str(seed),
                f"{number(p.best(both[1]), 4)} / {number(p.best(both[0]), 4)}",
                f"{number(p.last(both[1]), 4)} / {number(p.last(both[0]), 4)}",
                *(number(1e3 * s.seconds / s.iterations) for s in spent),
                *(number(s.seconds) for s in spent),
                percent(entry["time_reduction"]),
                percent(entry["nfe_reduction"]),
                percent(entry["evaluation_reduction"]),
            )
        )
    return found


def accuracies() -> list[str]:
    """Training of the spiral at many accuracies, cheapest first."""
    runs = sorted(p.part("spiral-tolerances").runs, key=lambda r: (r.summary or {})["training_seconds"])
    return [
        row(
            r.setting,
            number(p.best(r)),
            number(p.last(r)),
            number((r.summary or {})["training_seconds"]),
            number(sum(record.evaluations for record in r.records)),
        )
        for r in runs
    ]


def gaussians() -> list[str]:
    """8gaussians, medians over seeds."""
    folder = "8gaussians"

    def entry(key: str, digits: int = 3, scale: float = 1.0) -> list[str]:
        return [number(p.value(folder, m, key, scale), digits) for m in (DISC, OPT)]

    found = reductions(p.part(folder))
    return [
        row("best validation NLL (nats)", *entry("best_validation_loss", 4)),
        row("last validation NLL", *(number(p.middle(folder, m, p.last), 4) for m in (DISC, OPT))),
        row("test NLL", *entry("test_nll", 4)),
        row("test NLL above that of the true density on the same samples", *entry("excess_nll")),
        row("probability mass on a grid", *entry("mass", 5)),
        row("inverse error, solved as in training (mean 2-norm)", *entry("inverse_data_as_trained")),
        row("ms per iteration", *entry("seconds_per_iteration", scale=1e3)),
        row("NFE-F / NFE-B per iteration", *_pairs(entry("nfe_forward"), entry("nfe_backward"))),
        row("seconds until the matched NLL", *(number(found["seconds"][m]) for m in (DISC, OPT))),
        row("NFE until the matched NLL", *(number(found["nfe"][m]) for m in (DISC, OPT))),
    ]


def _pairs(a: list[str], b: list[str]) -> list[str]:
    return [f"{x} / {y}" for x, y in zip(a, b, strict=True)]


def columns() -> list[str]:
    """Flows in 43 and 64 columns, one seed."""
    where = [(f, m) for f in ("miniboone-sample", "digits") for m in (DISC, OPT)]

    def entry(key: str) -> list[str]:
        return [number(p.value(f, m, key), 4) for f, m in where]

    def until(of: Callable[[Run, float], str]) -> list[str]:
        return [of(p.runs(f, m)[0], p.matched(f, 0, DISC, OPT)) for f, m in where]

    def less(key: str) -> list[str]:
        return [text for f in ("miniboone-sample", "digits") for text in (percent(reductions(p.part(f))[key]), "")]

    return [
        row("columns", *(str(len((p.runs(f, m)[0].evaluation or {})["series"]["data"][0])) for f, m in where)),
        row("training rows", *(number(_metric(f, m, "rows")) for f, m in where)),
        row("weights", *(number(_metric(f, m, "parameters")) for f, m in where)),
        row("iterations", *(str(p.runs(f, m)[0].config["iterations"]) for f, m in where)),
        row("NLL on training rows (nats)", *entry("train_nll")),
        row("best validation NLL", *entry("best_validation_loss")),
        row("test NLL", *entry("test_nll")),
        row("iteration of the best validation NLL", *until(lambda r, _: str(r.quality().index(p.best(r))))),
        row("seconds until the matched NLL", *until(lambda r, q: number(p.spent(r, q).seconds))),
        row("NFE until the matched NLL", *until(lambda r, q: number(p.spent(r, q).nfe))),
        row("Disc-Opt needs less time", *less("time_reduction")),
        row("Disc-Opt needs less NFE", *less("nfe_reduction")),
        row("Disc-Opt needs fewer evaluations, with products", *less("evaluation_reduction")),
    ]


def _metric(folder: str, method: str, key: str) -> float:
    return float((p.runs(folder, method)[0].evaluation or {})["metrics"][key])


def multilevel() -> list[str]:
    """Coarse steps first, against the finest throughout: both Disc-Opt."""
    found = reductions(p.part("8gaussians-multilevel"), DISC, "disc-opt-multilevel")
    return [
        row(
            number(entry["loss"], 4),
            number(entry["seconds"][DISC]),
            number(entry["seconds"]["disc-opt-multilevel"]),
            percent(entry["time_reduction"]),
            percent(entry["nfe_reduction"]),
        )
        for entry in found["targets"][-2:]
    ]


def disturbed() -> list[str]:
    """The spread of the time per iteration over the seeds of 8gaussians: the machine was not idle."""
    each = [
        1e3 * s.seconds / s.iterations
        for r in p.runs("8gaussians", OPT)
        for s in [p.spent(r, p.matched("8gaussians", r.seed, DISC, OPT))]
    ]
    return [f"the slowest seed took {number(max(each) / median(each), 2)} times as long per iteration as the median"]


def settings() -> list[str]:
    """How the runs of the tables were set, from their configurations."""
    disc, opt = (p.runs("spiral", m)[0].config for m in (DISC, OPT))
    fine, loose = (p.runs("8gaussians", m)[0].config for m in (DISC, OPT))
    levels = p.runs("8gaussians-multilevel", "disc-opt-multilevel")[0].config
    batch = Toy.batch_size  # no option of these runs says another
    assert fine["options"] == loose["options"] == {}
    return [
        f"{disc['iterations']} iterations of Adam at a rate of {disc['learning_rate']:g}, seed {disc['seed']}.",
        f"dopri5 at {_short(opt['method']['rtol'])} / {_short(opt['method']['atol'])}",
        f"with {fine['method']['steps']} steps, dopri5 at {_short(loose['method']['rtol'])}, {fine['iterations']:,} "
        f"iterations of {batch} fresh samples",
        f"Disc-Opt ({fine['method']['steps']} steps) | Opt-Disc ({_short(loose['method']['rtol'])})",
        f"{_in_turn(levels['multilevel']['steps'])} steps in turn",
        f"against {p.runs('8gaussians-multilevel', DISC)[0].config['method']['steps']} steps throughout",
        f"one seed, {levels['iterations']:,} iterations, eager",
        f"| {p.runs('8gaussians-multilevel', DISC)[0].config['method']['steps']} steps: s |",
        f"Training at each accuracy for {p.part('spiral-tolerances').runs[0].config['iterations']} iterations",
        f"the rate of {disc['learning_rate']:g} is too high",
        f"stays below {_short(p.part('8gaussians').rediscretised[0].bound)}",
        f"(rtol {_short(p.checks('map').stability[0].rtol)}, one interval of length T",
        f"reductions of {_abstract()} over six of its seven problems",
    ]


def _abstract() -> str:
    """What the study's abstract says, as the cost model records it."""
    known = p.lines("scale", "references.jsonl")[0]["published"]
    assert known.endswith(", six of seven")
    return f"{known.removesuffix(', six of seven')} %"


def _in_turn(counts: list[int]) -> str:
    return f"{', '.join(map(str, counts[:-1]))} and {counts[-1]}"


def _short(value: float) -> str:
    return f"{value:.0e}".replace("e-0", "e-")


def claims() -> list[str]:
    """All of these."""
    return [
        *settings(),
        *overview(),
        *spiral(),
        *by_seed("spiral-seeds"),
        *by_seed("8gaussians"),
        *accuracies(),
        *gaussians(),
        *columns(),
        *multilevel(),
        *disturbed(),
    ]
