"""`python -m experiments.study.page`: which blocks of the pages differ from the records; `--write` mends them."""

from __future__ import annotations

import argparse
import sys

from experiments.study.page.contents import PAGES, differing, write
from pynode.errors import UsageError


def main(arguments: list[str]) -> int:
    """Exit status: 0, or 1 where a page differs from the records and was not written."""
    parser = argparse.ArgumentParser(prog="python -m experiments.study.page", description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the records' tables and sentences into the pages")
    chosen = parser.parse_args(arguments)
    stale = {path: names for path in PAGES if (names := differing(path))}
    for path, names in stale.items():
        print(f"{path}: {'rewritten' if chosen.write else 'differs from the records in'}: {', '.join(names)}")
        if chosen.write:
            write(path)
    return int(bool(stale) and not chosen.write)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UsageError as error:
        sys.exit(f"error: {error}")
