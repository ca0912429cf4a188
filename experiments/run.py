"""The command line of pynode: `python experiments/run.py --help`.  Everything behind it lives in pynode/cli.

Beside that stands `bench`, which belongs to the experiments (experiments/benchmarks) and not to the package.
"""

import sys
from pathlib import Path

from pynode.cli import app, main


def add_bench() -> None:
    """Adds the command `bench`; its package is found from the root of the checkout."""
    sys.path.append(str(Path(__file__).resolve().parents[1]))
    from experiments.benchmarks.command import bench

    app.command("bench", rich_help_panel="Compare with other programs")(bench)


if __name__ == "__main__":
    add_bench()
    sys.exit(main())
