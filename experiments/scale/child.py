"""The process in which one real cell runs: `python -m experiments.scale.child CONFIG.json DIRECTORY`.

Without Numba, so that validation runs by torch operators like all the rest, as it would on a GPU.
"""

from __future__ import annotations

import sys
from pathlib import Path


def run(config: Path, directory: Path) -> None:
    """Trains the configuration in `config` on one thread."""
    import torch

    from pynode.records.files import read_json
    from pynode.training.config import RunConfig
    from pynode.training.trainer import train

    torch.set_num_threads(1)
    train(RunConfig.from_json(read_json(config)), directory)


if __name__ == "__main__":
    sys.modules["numba"] = None  # type: ignore[assignment]
    run(Path(sys.argv[1]), Path(sys.argv[2]))
