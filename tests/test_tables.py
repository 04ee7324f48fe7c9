"""The tables: what stages write is read back typed; what is damaged, changed or unknown never is."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from probe import curves, files
from probe.errors import ProbeError
from probe.paths import REPOSITORY, Paths
from probe.tables import COMMITMENT, EFFECTS, PEAKS, SUMMARY, TABLES, Table

COMMAND = "run: uv run concept_alignment.py --family toy"
METADATA = {"params": {"seed": 20}, "inputs": {}}
COMMITTED = sorted((REPOSITORY / "results" / "nano-aya").glob("*.csv"))


def example(table: Table, rows: int = 3) -> pd.DataFrame:
    """A frame of every column that the table knows, the optional ones too."""
    value = {"str": "x", "float64": 0.25, "int64": 2, "bool": True}
    kinds = {"str": table.text, "float64": table.numbers, "int64": table.whole, "bool": table.flags}
    frame = {name: [value[kind]] * rows for kind, names in kinds.items() for name in names.split()}
    frame |= {name: ["hi"] * rows for name in table.languages.split()}
    return pd.DataFrame({name.replace("{variant}", "fire"): cells for name, cells in frame.items()})


@pytest.fixture
def paths(tmp_path):
    return Paths(tmp_path)


@pytest.fixture
def peaks(paths):
    return PEAKS.write(paths.results("toy"), example(PEAKS), METADATA)


@pytest.mark.parametrize("name", TABLES)
def test_what_is_written_is_read_with_its_types(name, paths):
    table = TABLES[name]
    frame = example(table)
    for column in frame.columns.intersection(table.empty.split()):
        frame[column] = frame[column].astype(object).where([True, False, True], None)
    path = table.write(paths.results("toy"), frame, METADATA)
    found = table.read(paths, "toy")
    assert list(found) == list(frame)
    assert found.isna().sum().to_dict() == frame.isna().sum().to_dict()
    whole = found.columns.intersection(table.whole.split())
    assert all(pd.api.types.is_integer_dtype(found[column]) for column in whole)
    assert all(found[column].dtype == bool for column in table.flags.split())
    first = path.read_bytes()
    table.write(paths.results("toy"), found, METADATA)
    assert path.read_bytes() == first
    assert path.read_text().count("2.0") == 0  # a whole number stays one where cells beside it are empty


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_the_committed_tables_are_these_tables(path, paths):
    """Read and written again they are the same bytes, so that no stage's output is left out here."""
    found = TABLES[path.stem].read(Paths(), "nano-aya")
    assert TABLES[path.stem].write(paths.root, found, METADATA).read_bytes() == path.read_bytes()


def test_published_curves_and_effects_are_read(paths):
    assert len(EFFECTS.read(Paths(), "tiny-aya-published"))
    with pytest.raises(ProbeError, match="lacks the columns placebo, reference; run: uv run concept"):
        EFFECTS.read(Paths(), "tiny-aya-published", needs=("reference", "placebo"))


def damaged(path, change) -> None:
    """As a disk or a hand would leave it: without a word in the provenance."""
    before = path.read_text()
    path.write_text(change(before))
    assert path.read_text() != before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: "", "is damaged"),
        (lambda text: text[:-1], "is damaged (cut short)"),
        (lambda text: text.rpartition(",")[0] + "\n", "is damaged (an empty cell in "),
        (lambda text: text.replace("peak_state", "state", 1), "lacks the columns peak_state"),
        (lambda text: text.replace(",2,", ",two,", 1), "is damaged ("),
        (lambda text: text.replace(",2,", ",2.5,", 1), "is damaged ("),
        (lambda text: text.replace(",0.25,", ",,", 1), "is damaged (an empty cell in "),
        (lambda text: text.replace(",0.25,", ",inf,", 1), "is damaged (an infinite "),
        (lambda text: text.replace("x,", ",", 1), "is damaged (an empty cell in "),
        (lambda text: text.replace(",hi\n", ",xx\n", 1), "has an unknown language, xx"),
        (lambda text: "\udcff" + text, "is damaged"),
        (lambda text: text + "one,too,many" * 20 + "\n", "is damaged"),
    ],
)
@pytest.mark.parametrize("sealed", [True, False])
def test_a_damaged_table_is_one_line_with_its_name_and_the_command(change, said, sealed, paths, peaks):
    content = change(peaks.read_text()).encode(errors="surrogateescape")
    assert content != peaks.read_bytes()
    peaks.write_bytes(content)
    if not sealed:
        files.sidecar(peaks).unlink()
    with pytest.raises(ProbeError) as raised:
        PEAKS.read(paths, "toy")
    assert str(raised.value).startswith(f"{peaks} {said}")
    assert str(raised.value).endswith(COMMAND)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("0.25", "0.26", 1),  # still a table, and another one
        lambda text: text[: text.index("\n") + 1],
        lambda text: text + text.splitlines()[-1] + "\n",
    ],
)
def test_a_table_that_its_provenance_does_not_speak_of_is_refused(change, paths, peaks):
    damaged(peaks, change)
    with pytest.raises(ProbeError, match=f"not the table that its provenance speaks of; {COMMAND}"):
        PEAKS.read(paths, "toy")


def test_provenance_is_what_was_given_and_the_seal(paths, peaks):
    assert PEAKS.provenance(paths, "toy") == METADATA | {"sha256": files.sha256(peaks)}
    for content in ("[]", '{"params": {}}', "{"):
        files.sidecar(peaks).write_text(content)
        with pytest.raises(ProbeError, match=f"peaks.meta.json is damaged .*{COMMAND}"):
            PEAKS.read(paths, "toy")
    files.sidecar(peaks).unlink()
    assert len(PEAKS.read(paths, "toy")) == 3  # a table of the user's own has none
    with pytest.raises(ProbeError, match=f"peaks.meta.json is missing; {COMMAND}"):
        PEAKS.provenance(paths, "toy")


def test_a_missing_table_says_how_it_is_made(paths):
    with pytest.raises(ProbeError, match=f"peaks.csv is missing; {COMMAND}"):
        PEAKS.read(paths, "toy")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda frame: frame.drop(columns="peak"), "lacks the columns peak"),
        (lambda frame: frame.assign(height=1), "has no columns height"),
        (lambda frame: frame.assign(peak=np.nan), "an empty cell in peak"),
        (lambda frame: frame.assign(peak=np.inf), "an infinite peak"),
        (lambda frame: frame.assign(peak="high"), "is damaged"),
        (lambda frame: frame.assign(peak_state=2.5), "is damaged"),
    ],
)
def test_what_could_not_be_read_is_not_written(change, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        PEAKS.write(tmp_path, change(example(PEAKS)), METADATA)
    assert not list(tmp_path.iterdir())


def test_a_variant_has_a_column_of_its_own_and_none_is_no_matter(paths):
    frame = example(COMMITMENT).rename(columns={"fire_layer": "my-own.2_layer"})
    COMMITMENT.write(paths.results("toy"), frame, METADATA)
    assert str(COMMITMENT.read(paths, "toy")["my-own.2_layer"].dtype) == "Int64"
    with pytest.raises(ProbeError, match="lacks the columns base_layer"):
        COMMITMENT.read(paths, "toy", needs=["base_layer"])


def test_no_rows_is_a_table_and_a_text_of_na_is_a_text(paths):
    SUMMARY.write(paths.results("toy"), example(SUMMARY).iloc[:0], METADATA)
    assert SUMMARY.read(paths, "toy").empty
    SUMMARY.write(paths.results("toy"), example(SUMMARY).assign(variant="NA"), METADATA)
    assert list(SUMMARY.read(paths, "toy").variant) == ["NA"] * 3


# alignment_curves.json


def test_curves_are_read_and_their_damage_is_told(paths):
    folder = paths.results("toy")
    folder.mkdir(parents=True)
    shutil.copy(REPOSITORY / "results" / "nano-aya" / curves.FILE, folder)
    good = json.loads((folder / curves.FILE).read_text())
    assert curves.read(paths, "toy").curves["base"]["C01"]["hi"] == good["curves"]["base"]["C01"]["hi"]
    for spoil in (
        lambda of: of["base"]["C01"]["hi"].pop(),
        lambda of: of["base"]["C01"].pop("hi"),
        lambda of: of["base"]["C01"]["hi"].insert(0, of["base"]["C01"]["hi"].pop() and None),
        lambda of: of.clear(),
        lambda of: of.update(base=[]),
    ):
        bad = json.loads(json.dumps(good))
        spoil(bad["curves"])
        (folder / curves.FILE).write_text(json.dumps(bad))
        with pytest.raises(ProbeError, match=f"alignment_curves.json is damaged .*{COMMAND}"):
            curves.read(paths, "toy")
