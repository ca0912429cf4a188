"""Where the public data come from: address, digest, and which files of the archive each set needs.

The five tabular sets are those of Papamakarios, Pavlakou and Murray, "Masked Autoregressive Flow for Density
Estimation" (2017), published as Zenodo record 1161203 (doi:10.5281/zenodo.1161203).  Zenodo publishes an MD5 alone,
which finds a broken download but does not withstand an attacker; so the SHA-256 of the first file that passes is
written beside it and checked from then on (`download.py`), and a SHA-256 known from elsewhere can be demanded.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pynode.errors import InvalidArgument

LENGTHS = {"md5": 32, "sha256": 64}
CHUNK = 1 << 20


@dataclass(frozen=True)
class Digest:
    """The expected digest of a file: `algorithm` "md5" or "sha256", `hexadecimal` in lower case.

    Raises `InvalidArgument` for another algorithm or a digest of the wrong form.
    """

    algorithm: str
    hexadecimal: str

    def __post_init__(self) -> None:
        if self.algorithm not in LENGTHS:
            raise InvalidArgument("algorithm", self.algorithm, "unknown digest", "use md5 or sha256")
        length = LENGTHS[self.algorithm]
        if not re.fullmatch(rf"[0-9a-f]{{{length}}}", self.hexadecimal):
            raise InvalidArgument(
                self.algorithm, self.hexadecimal, "not such a digest", f"give {length} hexadecimal digits in lower case"
            )

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hexadecimal}"

    def of(self, path: Path) -> Digest:
        """The digest of the file at `path` by the same algorithm."""
        return file_digest(path, self.algorithm)


def file_digest(path: Path, algorithm: str = "sha256") -> Digest:
    """The digest of a file, read in pieces of 1 MiB."""
    running = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            running.update(piece)
    return Digest(algorithm, running.hexdigest())


@dataclass(frozen=True)
class Source:
    """One published file, with data sets in folders of it.

    `size` in bytes, None where it is not known beforehand (the server says it then).  `shapes` are the columns and the
    training, validation and test rows of what preprocessing has to give, by data set.
    """

    url: str
    file_name: str
    digest: Digest
    size: int | None
    about: str
    shapes: Mapping[str, tuple[int, int, int, int]]


MAF_ARCHIVE = Source(
    url="https://zenodo.org/records/1161203/files/data.tar.gz",
    file_name="data.tar.gz",
    digest=Digest("md5", "9b9c9b0375315ad270eba4ce80c093ab"),
    size=None,
    about="about 857 MB",
    shapes={
        "power": (6, 1_659_917, 184_435, 204_928),
        "gas": (8, 852_174, 94_685, 105_206),
        "hepmass": (21, 315_123, 35_013, 174_987),
        "miniboone": (43, 29_556, 3_284, 3_648),
        "bsds300": (63, 1_000_000, 50_000, 250_000),
    },
)

FOLDERS: Mapping[str, str] = {
    # data set: its folder inside the archive
    "power": "data/power/",
    "gas": "data/gas/",
    "hepmass": "data/hepmass/",
    "miniboone": "data/miniboone/",
    "bsds300": "data/BSDS300/",
}
