"""Parquet files under checksums: what is not what was written is told before a number is made of
it."""

import ast
import io
import random

import numpy as np
import pandas as pd
import pytest

from stemkin.errors import DamagedFileError
from stemkin.rows.parquet import (
    columns_in,
    metadata_in,
    note_in,
    note_of_whole,
    rows_of,
    sealed_bytes,
    write_plain,
)
from tests.sources import below_package, mentioning, nodes_of

PLACE = "tracks/a/000000000-000000004.parquet"


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "movie": "a",
            "frame": np.arange(200, dtype=np.int32) // 50,
            "y": rng.normal(size=200).astype(np.float32),
            "class_id": rng.integers(0, 3, 200).astype(np.int16),
        }
    )


@pytest.fixture(scope="module")
def content(rows):
    return sealed_bytes(rows, place=PLACE, note={"fingerprint": "abc"})


def test_rows_come_back_as_they_were_with_what_the_file_says_of_itself(rows, content, tmp_path):
    pd.testing.assert_frame_equal(rows_of(content, place=PLACE), rows)
    pd.testing.assert_frame_equal(pd.read_parquet(io.BytesIO(content)), rows)
    assert note_of_whole(content, place=PLACE)["fingerprint"] == "abc"
    assert note_in(io.BytesIO(content), place=PLACE)["fingerprint"] == "abc"
    file = tmp_path / PLACE
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    assert metadata_in(str(file)).num_rows == 200
    pd.testing.assert_frame_equal(columns_in(str(file), ["y"]).to_pandas(), rows[["y"]])


def test_equal_rows_for_one_place_give_equal_bytes(rows, content):
    assert sealed_bytes(rows.copy(), place=PLACE, note={"fingerprint": "abc"}) == content


def test_no_bit_that_flips_in_a_whole_file_goes_unseen(content):
    chance = random.Random(0)
    for _ in range(400):
        at = chance.randrange(8 * len(content))
        broken = bytearray(content)
        broken[at // 8] ^= 1 << at % 8
        with pytest.raises(DamagedFileError, match=r"is damaged \(.*--mend"):
            rows_of(bytes(broken), place=PLACE)
        with pytest.raises(DamagedFileError):
            note_of_whole(bytes(broken), place=PLACE)


@pytest.mark.parametrize("byte", [0xF9, 0x00, 0xFF, 0x15])
def test_no_page_of_noise_in_a_file_is_more_than_a_damaged_file(content, byte):
    """Of a footer of noise pyarrow says what it likes, such as that a text is no UTF-8."""
    page = bytes([byte]) * 64
    for at in range(0, len(content), 16):
        broken = content[:at] + page[: len(content) - at] + content[at + len(page) :]
        if broken == content:
            continue
        with pytest.raises(DamagedFileError):
            rows_of(broken, place=PLACE)
        with pytest.raises(DamagedFileError):
            note_of_whole(broken, place=PLACE)


def test_no_bit_that_flips_changes_columns_that_are_read_alone(rows, content, tmp_path):
    """Whoever reads some columns sees the flips in these and in the footer; others do not matter."""
    chance, file = random.Random(1), tmp_path / "some.parquet"
    seen = 0
    whole = sealed_bytes(rows, place="some.parquet", note={})
    for _ in range(200):
        at = chance.randrange(8 * len(whole))
        broken = bytearray(whole)
        broken[at // 8] ^= 1 << at % 8
        file.write_bytes(bytes(broken))
        try:
            found = columns_in(str(file), ["y", "frame"]).to_pandas()
        except DamagedFileError:
            seen += 1
        else:
            pd.testing.assert_frame_equal(found, rows[["y", "frame"]])
    assert seen > 60


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda b: b[: len(b) // 2], "no whole Parquet file"),
        (lambda b: b[:-1], "no whole Parquet file"),
        (lambda b: b[:20] + b[40:], "its content is not what was written"),
        (lambda b: b"", "it is empty"),
        (lambda b: b"PAR1", "no whole Parquet file"),
        (lambda b: b"not a table\n", "no whole Parquet file"),
        (lambda b: b + b, "its content is not what was written"),
    ],
)
def test_what_is_cut_empty_or_something_else_says_so(content, damage, said):
    with pytest.raises(DamagedFileError, match=said):
        note_of_whole(damage(content), place=PLACE)


def test_a_file_of_another_place_or_of_another_program_is_refused(rows, content):
    with pytest.raises(DamagedFileError, match=f"written as {PLACE}"):
        rows_of(content, place="tracks/b/000000000-000000004.parquet")
    plain = io.BytesIO()
    rows.to_parquet(plain)
    with pytest.raises(DamagedFileError, match="has no seal"):
        rows_of(plain.getvalue(), place=PLACE)


def test_a_plain_table_is_written_in_pieces_with_a_checksum_for_each_page(rows, tmp_path):
    import pyarrow.parquet as pq

    file = tmp_path / "truth.parquet"
    write_plain([rows.iloc[:50], rows.iloc[50:]], file)
    checked = pq.read_table(file, page_checksum_verification=True)
    pd.testing.assert_frame_equal(checked.to_pandas(), rows)
    whole, chunk = file.read_bytes(), pq.read_metadata(file).row_group(0).column(2)
    first, seen = chunk.dictionary_page_offset or chunk.data_page_offset, 0
    for at in range(first, first + chunk.total_compressed_size, 7):
        broken = bytearray(whole)
        broken[at] ^= 1
        try:
            found = pq.read_table(io.BytesIO(bytes(broken)), page_checksum_verification=True)
        except OSError:
            seen += 1
        else:
            pd.testing.assert_frame_equal(found.to_pandas(), rows)
    assert seen > 10


def test_one_room_alone_writes_and_reads_parquet():
    """Anywhere else the checksums could be forgotten."""
    elsewhere = []
    for path in mentioning("parquet", "dataset"):
        nodes = list(nodes_of(path))
        imports = [n.name for node in nodes if isinstance(node, ast.Import) for n in node.names]
        modules = [str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)]
        called = [node.attr for node in nodes if isinstance(node, ast.Attribute)]
        parquet = {"pyarrow.parquet", "pyarrow.dataset"} & {*imports, *modules}
        if parquet or {"read_parquet", "to_parquet"} & set(called):
            elsewhere.append(below_package(path))
    assert elsewhere == ["rows/parquet.py"]
