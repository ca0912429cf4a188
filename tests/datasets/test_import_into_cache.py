"""`data import` and the cache: when a set takes the place of another, and what is left where that fails."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from pynode.datasets import cache
from pynode.datasets.cache import MANIFEST, dataset, import_set, store
from pynode.datasets.errors import CacheError, DataError, DataExists
from pynode.datasets.sources import MAF_ARCHIVE
from pynode.datasets.splits import Splits
from pynode.errors import UnknownName
from tests.datasets.test_power_text import PARTS_OF_POWER, Array, readings, same


def test_a_set_is_replaced_only_on_request(tmp_path: Path) -> None:
    first, second, root = tmp_path / "a.npy", tmp_path / "b.npy", tmp_path / "root"
    np.save(first, readings())
    np.save(second, readings(300))
    import_set("power", first, root)
    with pytest.raises(DataExists, match="holds the data set 'power' already; add --replace"):
        import_set("power", second, root)
    np.save(tmp_path / "wrong.npy", np.zeros((9, 9)))
    with pytest.raises(DataError, match="9 columns instead of 8"):
        import_set("power", tmp_path / "wrong.npy", root, replace=True)
    assert len(dataset("power", root, verify=True).train) == 162  # what was there stays
    import_set("power", second, root, replace=True)
    assert len(dataset("power", root, verify=True).train) == 243
    with pytest.raises(UnknownName, match="did you mean 'power'"):
        import_set("powr", first, root)


def test_a_set_stays_where_its_replacement_can_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk does not cost the rows that are there."""
    np.save(tmp_path / "a.npy", readings())
    np.save(tmp_path / "b.npy", readings(300))
    root = tmp_path / "root"
    import_set("power", tmp_path / "a.npy", root)

    def full(path: Path, rows: Array) -> dict[str, int]:
        raise OSError(errno.ENOSPC, f"no room for the {len(rows)} rows of {path.name}")

    with monkeypatch.context() as patch:
        patch.setattr(cache, "_write", full)
        with pytest.raises(CacheError, match="no room for the 243 rows"):
            import_set("power", tmp_path / "b.npy", root, replace=True)
    assert len(dataset("power", root, verify=True).train) == 162
    import_set("power", tmp_path / "b.npy", root, replace=True)
    assert [path.name for path in root.iterdir()] == ["power"], "and nothing is left over"


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("given", ["folder", "file", "link"])
def test_a_file_in_the_place_of_the_set_is_never_lost_to_it(tmp_path: Path, given: str, replace: bool) -> None:
    """As where the archive was unpacked to the root."""
    path = tmp_path / "data" / "power" / "data.npy"
    path.parent.mkdir(parents=True)
    np.save(path, readings())
    content = path.read_bytes()
    (tmp_path / "link.npy").symlink_to(path)
    source = {"folder": path.parent, "file": path, "link": tmp_path / "link.npy"}[given]
    with pytest.raises(DataExists, match=r"lies in .*power, where the set is to be stored.*; move the file to another"):
        import_set("power", source, tmp_path / "data", replace=replace)
    assert [p.name for p in (tmp_path / "data").rglob("*")] == ["power", "data.npy"]
    assert path.read_bytes() == content


def test_files_that_are_no_set_are_replaced_only_on_request(tmp_path: Path) -> None:
    root, path = tmp_path / "data", tmp_path / "rows.npy"
    np.save(path, readings())
    (root / "power").mkdir(parents=True)
    import_set("power", path, root)  # nothing is lost with an empty folder
    for kept in ("notes.txt", "train.npy"):  # the second as a set would call it, but there is no manifest
        shutil.rmtree(root / "power")
        (root / "power").mkdir()
        (root / "power" / kept).write_text("mine")
        for call in (lambda: import_set("power", path, root), lambda: cache.fetch("power", root)):
            with pytest.raises(DataExists, match=rf"no data set of pynode \({kept}\).*--replace deletes"):
                call()
        assert (root / "power" / kept).read_text() == "mine"
    import_set("power", path, root, replace=True)
    assert {p.name for p in (root / "power").iterdir()} == cache.OWN
    (root / "power" / "notes.txt").write_text("mine")
    (root / "power" / "train.npy").unlink()
    with pytest.raises(DataExists, match=r"no data set of pynode \(notes\.txt\)"):
        cache.fetch("power", root)  # what is damaged is fetched again, but not what lies beside it


def test_a_set_comes_back_where_its_replacement_does_not_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "a.npy", readings())
    np.save(tmp_path / "b.npy", readings(300))
    root = tmp_path / "root"
    import_set("power", tmp_path / "a.npy", root)

    real = os.rename

    def refused(old: Path, new: Path) -> None:
        if ".unfinished-" in str(old):
            assert not new.exists(), "the set was not moved aside: the test shows nothing"
            raise OSError(errno.EIO, f"{old.name} can't be renamed")
        real(old, new)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", refused)
        with pytest.raises(CacheError, match="can't be renamed"):
            import_set("power", tmp_path / "b.npy", root, replace=True)
    assert [path.name for path in root.iterdir()] == ["power"]
    assert len(dataset("power", root, verify=True).train) == 162


@pytest.mark.parametrize("same", [False, True])
def test_what_a_killed_process_left_is_put_back_or_removed(tmp_path: Path, same: bool) -> None:
    """This process may have its number by now."""
    number = os.getpid() if same else 7
    np.save(tmp_path / "a.npy", readings())
    root = tmp_path / "root"
    import_set("power", tmp_path / "a.npy", root)
    (root / "power").rename(root / f".power.replaced-{number}")
    for kind in ("unfinished", "raw"):
        for age, name in ((0, "8"), (2 * cache.STALE, "9")):
            made = root / f".power.{kind}-{name}"
            made.mkdir()
            os.utime(made, (time.time() - age,) * 2)
    with pytest.raises(DataExists, match="holds the data set 'power' already"):
        import_set("power", tmp_path / "a.npy", root)
    assert len(dataset("power", root, verify=True).train) == 162
    assert sorted(p.name for p in root.iterdir()) == [".power.raw-8", ".power.unfinished-8", "power"]
    shutil.copytree(root / "power", root / f".power.replaced-{number}")
    import_set("power", tmp_path / "a.npy", root, replace=True)
    assert not list(root.glob(".power.replaced-*"))


def test_a_part_is_not_taken_for_what_is_fetched(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", readings())
    import_set("power", tmp_path / "a.npy", tmp_path / "root")
    with pytest.raises(DataExists, match=r"\(part: 162 of 1,659,917 training rows\).*data fetch power --replace"):
        cache.fetch("power", tmp_path / "root")


def test_the_published_number_of_rows_is_the_whole_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "a.npy", readings())
    monkeypatch.setitem(MAF_ARCHIVE.shapes, "power", (6, *PARTS_OF_POWER))
    splits = import_set("power", tmp_path / "a.npy", tmp_path / "root").splits
    assert splits.provenance is not None
    assert splits.provenance.whole is True
    assert splits.provenance.extent == "as many rows as published", "which says nothing of their values"
    assert json.loads((tmp_path / "root" / "power" / MANIFEST).read_text())["whole"] is True
    assert same(cache.fetch("power", tmp_path / "root"), splits)  # nothing to fetch


def test_manifests_from_before_there_was_a_provenance(tmp_path: Path) -> None:
    rows = np.zeros((5, 6), dtype=np.float32)
    store(Splits("power", rows, rows, rows), tmp_path)
    path = tmp_path / "power" / MANIFEST
    written = json.loads(path.read_text())
    older = {key: value for key, value in written.items() if key not in ("published_rows", "whole", "sources")}
    path.write_text(json.dumps(older))
    read = dataset("power", tmp_path, verify=True)
    assert read.provenance is not None
    assert read.provenance.sources == ()
    assert read.provenance.whole is False
    path.write_text(json.dumps({**written, "sources": [{"name": "a"}]}))
    with pytest.raises(CacheError, match="data import power --from PATH --replace"):
        dataset("power", tmp_path)
