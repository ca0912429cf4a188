"""Reads a TOML file that a user wrote."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import Any

from pynode.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LARGEST = 1_000_000
"""Bytes of a file of options."""


def read_toml(file: Path, shown: str) -> dict[str, Any]:
    """The values of a TOML file, which may begin with a byte order mark; raises `UsageError` in the name `shown`."""
    try:
        if not stat.S_ISREG(os.stat(file).st_mode):
            raise UsageError(f"{shown}: not a regular file; give the path of a TOML file")
        if os.path.getsize(file) > LARGEST:
            raise UsageError(f"{shown}: larger than {LARGEST:,} bytes; give the path of a TOML file")
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"{shown}: can't be read ({error.strerror}); give the path of a TOML file") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{shown}: no valid TOML (it is not UTF-8: {error.reason}); save it as UTF-8") from error
    except RecursionError as error:
        raise UsageError(f"{shown}: no valid TOML (nested too deeply); correct the file") from error
    except (tomllib.TOMLDecodeError, ValueError) as error:
        raise UsageError(f"{shown}: no valid TOML ({error}); correct the file") from error
