"""What went wrong in a results directory, for its page: failures, unfinished runs, damaged files, events of runs."""

from __future__ import annotations

from pynode.errors import RecordError
from pynode.records.content import is_there
from pynode.records.events import EVENTS, Event
from pynode.records.files import read_intact_lines, read_json
from pynode.records.run_files import SUMMARY
from pynode.records.runs import RUNS, Run
from pynode.studies.base import Table
from pynode.studies.results import Results
from pynode.wording import counted


def troubles(results: Results) -> list[str]:
    """Failures and damaged files of `results` and its parts, a sentence each."""
    said = [f"Damaged, and left out: {message}" for message in results.damaged]  # that of its parts too
    said += _failed(results)
    for name, part in results.parts.items():
        said += [f"{name}: {sentence}" for sentence in _failed(part)]
    return list(dict.fromkeys(said))


def _failed(results: Results) -> list[str]:
    said = [sentence for run in results.runs for sentence in _of_run(run)]
    told = [run.summary["error"] for run in results.runs if run.summary and run.summary.get("error")]
    noted = [failure for failure in _noted_failures(results) if not any(error in failure for error in told)]
    return [*said, *(f"Failed: {failure}" for failure in noted)]


def _of_run(run: Run) -> list[str]:
    if run.summary is None:
        return [f"{run.label} is not finished: {counted(len(run.records), 'iteration')} recorded."]
    said = []
    if run.summary["status"] == "failed":
        said.append(f"{run.label} failed: {run.summary.get('error') or 'no reason recorded'}")
    if failed := run.summary.get("failed_iterations"):
        said.append(f"{run.label}: {counted(failed, 'iteration')} failed and made no update.")
    if lost := run.summary.get("lost_records"):
        said.append(f"{run.label}: the records of {counted(lost, 'iteration')} are lost.")
    if failure := run.summary.get("evaluation_failure"):
        said.append(f"{run.label} could not be evaluated: {failure}")
    return said


def _noted_failures(results: Results) -> list[str]:
    """The failures that the command noted in summary.json."""
    try:
        noted = read_json(results.directory / SUMMARY)["failures"]
    except (RecordError, KeyError, TypeError):
        return []
    return [str(failure) for failure in noted] if isinstance(noted, list) else []


def event_tables(results: Results) -> list[Table]:
    """The events of the runs: interruptions, restarts, failures."""
    rows, damaged = [], []
    for run in results.runs:
        path = results.directory / RUNS / run.label / EVENTS
        try:
            events, lines = read_intact_lines(path, Event) if is_there(path) else ([], [])
        except RecordError as error:
            damaged.append(str(error))
            continue
        rows += [[run.label, e.time, e.event, str(e.iteration), e.detail] for e in events]
        damaged += [f"{path}: {counted(len(lines), 'line')} damaged"] if lines else []
    if not rows and not damaged:
        return []
    return [Table("Events of the runs", ["run", "time", "event", "iteration", "detail"], rows, damaged, long=True)]
