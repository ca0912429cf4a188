"""The command line of pynode: `python experiments/run.py --help`.  Everything behind it lives in pynode/cli."""

import sys

from pynode.cli import main

if __name__ == "__main__":
    sys.exit(main())
