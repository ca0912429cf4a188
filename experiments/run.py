"""The command line of pynode: `python experiments/run.py --help`.  Everything behind it lives in pynode/cli.

Added to it are `bench`, `gpu`, `cost-model`, `study` and `spiral-differences`, which belong to the experiments
(experiments/benchmarks, experiments/gpu, experiments/scale, experiments/study) and not to the package.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # pynode, where it is not installed, and experiments

from experiments.packages import COMMANDS, lack_of

if __name__ == "__main__" and (lack := lack_of(COMMANDS, "experiments/run.py")) is not None:
    print(lack, file=sys.stderr)
    sys.exit(2)

from pynode.cli import app, command


def add_bench() -> None:
    """Adds the command `bench`."""
    from experiments.benchmarks.command import bench

    app.command("bench", rich_help_panel="Compare with other programs")(bench)


def add_gpu() -> None:
    """Adds the command `gpu`."""
    from experiments.gpu.command import gpu

    app.command("gpu", rich_help_panel="Compare with other programs")(gpu)


def add_cost_model() -> None:
    """Adds the command `cost-model`."""
    from experiments.scale.command import cost_model

    app.command("cost-model", rich_help_panel="Plan")(cost_model)


def add_study() -> None:
    """Adds the commands of `study`."""
    from experiments.study.command import study

    app.add_typer(study, name="study", rich_help_panel="Train")


def add_spiral_differences() -> None:
    """Adds the command `spiral-differences`."""
    from experiments.study.spiral_differences.command import spiral_differences

    app.command("spiral-differences", rich_help_panel="Train")(spiral_differences)


if __name__ == "__main__":
    add_bench()
    add_gpu()
    add_cost_model()
    add_study()
    add_spiral_differences()
    command()
