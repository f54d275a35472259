"""Every file of the corpus is read right or refused, never anything else."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.corpus import every_case, film, judged

CASES = list(every_case())


def test_the_corpus_is_large_and_has_every_name_once():
    names = [str(case) for case in CASES]
    assert len(names) == len(set(names))
    assert len(names) > 500


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_file_is_right_or_refused(case, tmp_path):
    verdict = judged(case, tmp_path)
    assert verdict.fits(case), f"{verdict.what}: {verdict.why}"


def test_what_is_wrong_is_found():
    """The corpus itself is not blind: a case with another truth comes out as wrong."""
    by_name = {str(case): case for case in CASES}
    for name, other in {
        "NPY u2 C": {"frames": film("u2", seed=9)},
        "DM u2 DM3 <": {"says": {"pixel_size_nm": 0.05, "frame_time_s": 0.5}},
        "EMD x, y, 'z'": {"frames": film("u2").transpose(0, 2, 1)},
        "TIFF u2 <": {"says": {"pixel_size_nm": 0.03}},
    }.items():
        case = replace(by_name[name], **other, read_by={})
        with TemporaryDirectory() as folder:
            assert judged(case, Path(folder)).what == "wrong", name
