"""Sets built from the files that their users have: found, whole and in part, damaged, of another set, and replaced."""

from __future__ import annotations

import gzip
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pynode.datasets.cache import MANIFEST, NAMES, dataset, import_set
from pynode.datasets.errors import DataError, DataMissing
from pynode.datasets.raw_files import RAW_SETS, find, prepare
from pynode.datasets.sources import MAF_ARCHIVE
from pynode.datasets.splits import PARTS
from tests.datasets.test_power_text import Array, lines_of, readings, same, sizes, text_of

# --- files of every set ----------------------------------------------------------------------------------------------


def write_gas(path: Path, columns: int = 8) -> dict[str, Array]:
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(1)
    frame = {"Time": np.arange(60.0), "Meth": rng.random(60), "Eth": rng.random(60)}
    frame |= {f"S{k}": rng.normal(size=60) for k in range(columns)}
    with path.open("wb") as file:
        pickle.dump(pandas.DataFrame(frame), file, protocol=2)
    return frame


def write_hepmass(train_path: Path, test_path: Path, features: int = 21, more: str = "") -> None:
    rng = np.random.default_rng(2)
    names = ",".join(["# label", *(f"f{k}" for k in range(features))])
    for path, n, name, cell in ((train_path, 40, "", more), (test_path, 10, ",mass", ",1000")):
        lines = [names + name]
        for row in rng.normal(size=(n, features)):
            lines += [",".join(f"{x:.18e}" for x in (1.0, *row)) + cell, ",".join(["0.0"] + ["7"] * features) + cell]
        content = ("\n".join(lines) + "\n").encode()
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_miniboone(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.random.default_rng(3).normal(size=(100, 43)))


def write_bsds(path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    rng = np.random.default_rng(4)
    with h5py.File(path, "w") as file:
        for part, n in zip(PARTS, (30, 10, 20), strict=True):
            file[part] = rng.normal(size=(n, 63)).astype(np.float32)


def write_any(name: str, folder: Path) -> Path:
    """A file of the set `name`, by another name than the usual one."""
    path = folder / f"some {name} file"
    if name == "power":
        path.write_text(text_of(lines_of(readings())))
    elif name == "hepmass":
        write_hepmass(path, folder / "1000_test.csv")
    else:
        writers: dict[str, Callable[[Path], object]] = {
            "gas": write_gas,
            "miniboone": write_miniboone,
            "bsds300": write_bsds,
        }
        writers[name](path)
    return path


@pytest.mark.parametrize("name", NAMES)
def test_every_set_from_a_file_of_any_name_into_the_cache(tmp_path: Path, name: str) -> None:
    path = write_any(name, tmp_path)
    prepared = import_set(name, path, tmp_path / "root")
    stored = dataset(name, tmp_path / "root", verify=True)
    assert same(stored, prepare(name, path).splits)
    assert same(stored, prepared.splits)
    dim, *published = MAF_ARCHIVE.shapes[name]
    assert stored.dim == dim
    manifest = json.loads((tmp_path / "root" / name / MANIFEST).read_text())
    assert manifest["whole"] is False
    assert list(manifest["published_rows"].values()) == published
    assert manifest["sources"][0]["name"] == path.name
    assert stored.provenance is not None
    assert stored.provenance.sha256 == {part: manifest["parts"][part]["sha256"] for part in PARTS}
    assert stored.provenance.extent == f"part: {len(stored.train):,} of {published[0]:,} training rows"


def test_gas_keeps_its_rows_in_order(tmp_path: Path) -> None:
    frame = write_gas(tmp_path / "ethylene_CO.pickle")
    splits = prepare("gas", tmp_path).splits
    sensors = np.column_stack([frame[f"S{k}"] for k in range(8)])
    rows = np.vstack([splits.unstandardised(getattr(splits, part)) for part in PARTS])
    np.testing.assert_allclose(rows, sensors, atol=1e-6)


@pytest.mark.filterwarnings("error")
def test_gas_of_few_constant_or_infinite_rows(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame, path = write_gas(tmp_path / "gas"), tmp_path / "gas"

    def refused(rows: int, message: str, **columns: Array) -> None:
        with path.open("wb") as file:
            pickle.dump(pandas.DataFrame({**frame, **columns})[:rows], file, protocol=2)
        with pytest.raises(DataError, match=message):
            prepare("gas", path)

    infinite = frame["S2"].copy()
    infinite[4] = np.inf
    refused(1, r"gas, rows = 1: too few .*; give a file with 11 or more")
    refused(60, r"gas, row 5, column 6: inf is not a finite number; remove the row", S2=infinite, Meth=infinite)
    refused(60, r"gas: column 3 of gas = 1 in every row .*; give rows among which it varies", S2=np.ones(60))


@pytest.mark.filterwarnings("error")
def test_hepmass_of_few_constant_or_infinite_rows(tmp_path: Path) -> None:
    train, test = tmp_path / "1000_train.csv", tmp_path / "1000_test.csv"
    write_hepmass(train, test)
    lines = train.read_text().splitlines()

    def refused(lines: list[str], message: str) -> None:
        train.write_text("\n".join(lines) + "\n")
        with pytest.raises(DataError, match=message):
            prepare("hepmass", tmp_path)

    def with_cell(line: str, cell: str) -> str:
        return ",".join([*line.split(",")[:3], cell, *line.split(",")[4:]])

    refused(lines[:9], r"1000_train\.csv, rows with label 1 = 4: too few .*; give a file with 10 or more")
    refused([*lines[:3], with_cell(lines[3], "inf"), *lines[4:]], r"1000_train\.csv, row 3, column 4: inf is not a fin")
    constant = [lines[0], *(with_cell(line, "2") for line in lines[1:])]
    refused(constant, r"1000_train\.csv: column 3 of hepmass = 2 in every row")
    background = [*lines[:2], with_cell(lines[2], "nan"), *lines[3:]]
    train.write_text("\n".join(background) + "\n")
    assert sizes(prepare("hepmass", tmp_path).splits) == (36, 4, 10)


def test_gas_of_too_few_sensors(tmp_path: Path) -> None:
    write_gas(tmp_path / "gas", columns=7)
    with pytest.raises(DataError, match=r"gives gas 7 columns instead of 8; sensors that repeat another one"):
        prepare("gas", tmp_path / "gas")


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("given", ["folder", "train", "test"])
def test_hepmass_from_a_folder_or_either_file(tmp_path: Path, ending: str, given: str) -> None:
    paths = {part: tmp_path / f"1000_{part}.csv{ending}" for part in ("train", "test")}
    write_hepmass(paths["train"], paths["test"])
    splits = prepare("hepmass", {**paths, "folder": tmp_path}[given]).splits
    assert sizes(splits) == (36, 4, 10)
    assert splits.provenance is not None
    assert [file.name for file in splits.provenance.sources] == [paths["train"].name, paths["test"].name]


def test_hepmass_rows_may_be_longer_than_the_header(tmp_path: Path) -> None:
    for folder, more in (("a", ""), ("b", ",12345")):
        (tmp_path / folder).mkdir()
        write_hepmass(tmp_path / folder / "1000_train.csv", tmp_path / folder / "1000_test.csv", more=more)
    assert same(prepare("hepmass", tmp_path / "a").splits, prepare("hepmass", tmp_path / "b").splits)


def test_hepmass_with_other_files(tmp_path: Path) -> None:
    train, test = tmp_path / "1000_train.csv", tmp_path / "1000_test.csv"
    write_hepmass(train, test)
    header, *rest = test.read_text().splitlines()
    test.write_text("\n".join([header.replace("f3,f4", "f4,f3"), *rest]))
    with pytest.raises(DataError, match=r"but for the last are not those of 1000_train\.csv"):
        prepare("hepmass", tmp_path)
    test.unlink()
    with pytest.raises(DataMissing, match=r"1000_test\.csv is missing: hepmass is made of a training and a test file"):
        prepare("hepmass", tmp_path)
    test.write_text("# label,f0,f1\n1,2,x\n")
    with pytest.raises(DataError, match="'x'"):
        prepare("hepmass", tmp_path)
    for rows in ("", "0,2,3\n"):
        test.write_text(f"# label,f0,f1\n{rows}")
        with pytest.raises(DataError, match="no rows with label 1"):
            prepare("hepmass", tmp_path)
    write_hepmass(train, test, features=22)
    with pytest.raises(DataError, match=r"gives hepmass 22 columns instead of 21; discrete features"):
        prepare("hepmass", tmp_path)


def test_hepmass_s_training_file_packed_once_more_is_not_its_test_file(tmp_path: Path) -> None:
    """Only a name with "train" or "test" in it leads to another name than the usual one."""
    mine, test = tmp_path / "mine.csv", tmp_path / "1000_test.csv"
    write_hepmass(mine, test)
    packed = tmp_path / "mine.csv.gz"
    packed.write_bytes(gzip.compress(mine.read_bytes()))
    for path in (mine, packed):
        splits = prepare("hepmass", path).splits
        assert sizes(splits) == (36, 4, 10)
        assert splits.provenance is not None
        assert [file.name for file in splits.provenance.sources] == [path.name, "1000_test.csv"]
    test.unlink()
    with pytest.raises(DataMissing, match=r"1000_test\.csv is missing"):
        prepare("hepmass", mine)


def test_a_training_file_of_hepmass_may_have_test_inside_a_word(tmp_path: Path) -> None:
    """Its partner is looked for by whole words too."""
    latest, test = tmp_path / "hepmass_latest.csv", tmp_path / "1000_test.csv"
    write_hepmass(latest, test)
    made = prepare("hepmass", latest).splits.provenance
    assert made is not None
    assert [file.name for file in made.sources] == [latest.name, test.name]
    train, other = tmp_path / "constrained_train.csv", tmp_path / "constrained_test.csv"
    write_hepmass(train, other)
    for path in (train, other):
        made = prepare("hepmass", path).splits.provenance
        assert made is not None
        assert [file.name for file in made.sources] == [train.name, other.name]


def test_a_missing_partner_is_told_before_the_rows_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = tmp_path / "1000_train.csv", tmp_path / "1000_test.csv"
    write_hepmass(train, test)
    test.unlink()
    monkeypatch.setattr(np, "loadtxt", lambda *_, **__: pytest.fail("rows were read"))
    with pytest.raises(DataMissing, match=r"1000_test\.csv is missing"):
        prepare("hepmass", train)


@pytest.mark.parametrize("name", ["power", "hepmass"])
def test_a_zip_archive_whose_directory_is_damaged(tmp_path: Path, name: str) -> None:
    """Its names are said to be UTF-8, and are not any more."""
    path = tmp_path / "file.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("Zähler.txt", "\n".join(lines_of(readings())))
    path.write_bytes(path.read_bytes().replace("ä".encode(), b"\xff\xff"))
    with pytest.raises(DataError, match=r"file\.zip is cut short or damaged: .*; get the file again"):
        prepare(name, path)


def test_a_packed_table_of_hepmass_that_is_cut_short(tmp_path: Path) -> None:
    train, test = tmp_path / "1000_train.csv.gz", tmp_path / "1000_test.csv.gz"
    write_hepmass(train, test)
    train.write_bytes(train.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"^\S*1000_train\.csv\.gz is cut short or damaged: .*; get the file again$"):
        prepare("hepmass", tmp_path)


@pytest.mark.parametrize(
    ("name", "of", "message"),
    [
        ("power", "bsds300", r"is an HDF5 file, not the file of power: give UCI's household_power_consumption\.txt"),
        ("power", "gas", "is a pickle, not the file of power"),
        ("power", "miniboone", "has 43 columns instead of 8, so it is not of power"),
        ("power", "hepmass", "does not begin with the line Date;Time;"),
        ("gas", "bsds300", "is an HDF5 file, not the file of gas"),
        ("gas", "miniboone", r"is a NumPy array \(\.npy\), not the file of gas"),
        ("hepmass", "miniboone", r"is a NumPy array \(\.npy\), not the file of hepmass"),
        ("hepmass", "power", "can't be read as a table of numbers|no rows with label 1"),
        ("miniboone", "gas", "is a pickle, not the file of miniboone"),
        ("bsds300", "miniboone", r"is a NumPy array \(\.npy\), not the file of bsds300: give BSDS300\.hdf5"),
        ("bsds300", "power", "is a text file, not the file of bsds300"),
    ],
)
def test_a_file_of_another_set(tmp_path: Path, name: str, of: str, message: str) -> None:
    path = write_any(of, tmp_path)
    with pytest.raises(DataError, match=message):
        import_set(name, path, tmp_path / "root")
    assert not (tmp_path / "root").exists()


def test_sources_that_do_not_determine_the_published_rows(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("Time (seconds), CO conc (ppm), Ethylene conc (ppm), sensor readings (16 channels)\n0 0 0 1 2\n")
    with pytest.raises(DataError, match=r"a quarter of the rows, .*: give ethylene_CO\.pickle of the archive"):
        prepare("gas", path)
    with pytest.raises(DataError, match=r"MiniBooNE_PID\.txt .*: give data\.npy of the archive \(43 columns\)"):
        prepare("miniboone", path)


def test_miniboone_has_no_columns_of_whole_numbers(tmp_path: Path) -> None:
    """A table of such columns is another one: the published set has lost them, and a density of them has no bound."""
    rows, path = np.random.default_rng(3).normal(size=(100, 43)), tmp_path / "data.npy"
    rows[:20, 4] = 1.0  # repeated values are in the published columns, too
    np.save(path, rows)
    prepare("miniboone", path)
    rows[:, [2, 7]] = np.round(rows[:, [2, 7]])
    np.save(path, rows)
    with pytest.raises(DataError, match=r"nothing but whole numbers in columns 3, 8, and .*: give data\.npy"):
        prepare("miniboone", path)
    np.save(path, np.arange(4300).reshape(100, 43))
    with pytest.raises(DataError, match=r"nothing but whole numbers in columns 1, 2, 3"):
        prepare("miniboone", path)


@pytest.mark.parametrize("name", NAMES)
def test_no_such_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataMissing, match="nothing is missing: give"):
        prepare(name, tmp_path / "nothing")
    with pytest.raises(DataMissing, match=f"{RAW_SETS[name].usual[0]} is missing"):
        prepare(name, tmp_path)
    (tmp_path / "empty").touch()
    with pytest.raises(DataError, match="empty"):
        prepare(name, tmp_path / "empty")


def test_usual_names_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "household_power_consumption.zip").touch()
    assert find("power", tmp_path).name == "household_power_consumption.zip"
    (tmp_path / "data.npy").touch()
    assert find("power", tmp_path).name == find("miniboone", tmp_path).name == "data.npy"


def test_bsds300_with_nan_or_an_empty_part(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    rows = {part: np.zeros((5, 63)) for part in PARTS}
    damaged = np.zeros((5, 63))
    damaged[2, 4] = np.nan
    for change, message in (
        ({"validation": damaged}, "validation rows of bsds300, row 3, column 5"),
        ({"test": np.zeros((0, 63))}, "no test"),
    ):
        parts = {**rows, **change}
        with h5py.File(tmp_path / "BSDS300.hdf5", "w") as file:
            for part, values in parts.items():
                file[part] = values
        with pytest.raises(DataError, match=message):
            prepare("bsds300", tmp_path)


def test_a_truncated_hdf5_file(tmp_path: Path) -> None:
    path = write_any("bsds300", tmp_path)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(DataError, match="can't be read as HDF5 with train, validation, test"):
        prepare("bsds300", path)
