"""RQ3 over all problems: what Disc-Opt saves at matched loss, problem by problem."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pynode.figures import suite as figure
from pynode.records.results import Results
from pynode.studies.base import Study, Table, number, percent
from pynode.studies.reduction import main_reduction

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Suite(Study):
    """One row a problem, from the results directories inside a suite's."""

    name: ClassVar[str] = "suite"
    question: ClassVar[str] = "How large is the reduction of training time over the problems?"

    def tables(self, results: Results) -> list[Table]:
        if not results.parts:
            return []
        rows = []
        for name, part in results.parts.items():
            found = main_reduction(part)
            failed = sum(not run.finished for run in part.runs)
            seeds = str(len(found["seeds"])) if found else "0"
            cells = ["–"] * 6
            if found:
                cells = [
                    number(found["matched_loss"], 4),
                    number(found["seconds"][found["baseline"]]),
                    number(found["seconds"][found["method"]]),
                    percent(found["time_reduction"]),
                    percent(found["nfe_reduction"]),
                    percent(found["evaluation_reduction"]),
                ]
            rows.append([name, seeds, *cells, str(failed) if failed else ""])
        columns = [
            "problem",
            "seeds",
            "matched loss",
            "opt-disc s",
            "disc-opt s",
            "less time",
            "less NFE",
            "less evaluations",
            "failed runs",
        ]
        notes = [
            "cost until the matched validation loss, the worse of the two methods' best ones, is first reached; "
            "medians over seeds; evaluations are NFE with vector-Jacobian products."
        ]
        return [Table("RQ3 disc-opt against opt-disc over the problems", columns, rows, notes)]

    def figures(self, results: Results) -> dict[str, Figure | None]:
        return {"suite": figure.draw({name: main_reduction(part) for name, part in results.parts.items()})}

    def finding(self, results: Results) -> str | None:
        saved = {n: f["time_reduction"] for n, p in results.parts.items() if (f := main_reduction(p))}
        known = {name: value for name, value in saved.items() if value is not None}
        if not known:
            return None
        fewer = sum(value > 0 for value in known.values())
        low, high = min(known, key=lambda n: known[n]), max(known, key=lambda n: known[n])
        return (
            f"Disc-Opt needs less time on {fewer} of {len(known)} problems, from {percent(known[low])} ({low}) to "
            f"{percent(known[high])} ({high})."
        )
