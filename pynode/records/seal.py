"""A checksum in every record, so that a flipped bit is not read as another number."""

from __future__ import annotations

import difflib
import json
import re
import zlib
from typing import Any

KEY = "checksum"

_LIKE_ONE = re.compile("[0-9a-f]{8}")


def sealed(data: dict[str, Any]) -> dict[str, Any]:
    """`data` (plain values) with its checksum as the last entry."""
    return {**data, KEY: checksum(data)}


def unsealed(data: dict[str, Any]) -> dict[str, Any]:
    """`data` without its checksum; raises `ValueError` where that is not the one of the content.

    Data without a checksum, from before there was one or written by hand, are taken as they are; but not where the
    last entry looks like one under another name.
    """
    if KEY not in data:
        name, last = next(reversed(data.items()), ("", None))
        if difflib.get_close_matches(name, [KEY]) or (isinstance(last, str) and _LIKE_ONE.fullmatch(last)):
            raise ValueError(f'its last entry, "{name}", should be its {KEY}')
        return data
    content = {k: v for k, v in data.items() if k != KEY}
    if data[KEY] != checksum(content):
        raise ValueError(
            "its checksum is another, so it was damaged or changed after it was written "
            f'(changed on purpose: take "{KEY}" out)'
        )
    return content


def checksum(data: dict[str, Any]) -> str:
    """CRC-32 of the JSON text of `data`, as eight hexadecimal digits."""
    return f"{zlib.crc32(json.dumps(data).encode()):08x}"
