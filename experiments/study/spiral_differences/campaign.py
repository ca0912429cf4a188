"""All runs of the differences, one after another; an interrupted campaign goes on with the runs that are missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.study.spiral_differences.records import CONFIG, ENVIRONMENT, RUNS, ConfigKeys, DifferenceRecord
from experiments.study.spiral_differences.training import run
from experiments.study.spiral_differences.variants import METHODS, VARIANTS
from pynode.cli.output import is_begun, note_environment, output_directory
from pynode.errors import ConfigurationMismatch
from pynode.records.content import is_there
from pynode.records.files import append_line, lines_if_any, read_object, write_json, write_lines
from pynode.training.machine import environment

BEGUN = (ENVIRONMENT,)
"""What is there of a campaign before its configuration."""


def begin(config: dict[str, Any], out: Path | None, *, resume: bool) -> Path:
    """The directory of a campaign, with its configuration and one more entry on how it is made.

    Raises `ConfigurationMismatch` where the campaign to resume has other seeds, variants or iterations, and
    `OutputDirectoryError` for a directory that can't be used.
    """
    if resume and out is not None and is_there(out / CONFIG):
        earlier = read_object(out / CONFIG, ConfigKeys)
        if different := [
            f"{key}: {earlier.get(key)} -> {config[key]}" for key in config if earlier.get(key) != config[key]
        ]:
            raise ConfigurationMismatch(
                f"{out} was started with another configuration ({'; '.join(different)}); resume with the same options, "
                "or choose another --out"
            )
        note_environment(out, environment())
        return out
    goes_on = resume and out is not None and is_begun(out, BEGUN)
    directory = output_directory(out, "spiral-differences", resume=goes_on, begun=BEGUN)
    note_environment(directory, environment())
    write_json(directory / CONFIG, config)
    return directory


def run_missing(directory: Path, update: Callable[[str], None]) -> None:
    """Runs what has no record yet, seed by seed, and appends a line for each; `update` is told what runs."""
    config = read_object(directory / CONFIG, ConfigKeys)
    records = lines_if_any(directory / RUNS, DifferenceRecord)
    if records:
        write_lines(directory / RUNS, records)  # without a last line that was torn
    done = {(r.variant, r.method, r.seed) for r in records}
    cells = [(v, m, s) for s in config["seeds"] for v in config["variants"] for m in METHODS]
    for count, (variant, method, seed) in enumerate(cells, start=1):
        if (variant, method, seed) not in done:
            update(f"{variant} {method}, seed {seed} ({count} of {len(cells)})")
            append_line(directory / RUNS, run(VARIANTS[variant], method, seed, config["iterations"]))
