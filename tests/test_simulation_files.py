"""Simulated movies as files, and difference images computed elsewhere."""

import json

import numpy as np
import pandas as pd
import pytest

from stemkin.archive import open_archive
from stemkin.movie import open_movie
from stemkin.simulation import (
    PRESETS,
    Settings,
    expected_image,
    simulate_archive,
    simulate_movie,
    truth_of,
    write_simulation,
)
from stemkin.simulation.columns import probe_of
from tests.strategies import assert_same_rows


@pytest.mark.parametrize("file_format", ["zarr", "tiff", "hdf5"])
def test_written_movies_open_with_the_same_bits_calibration_and_truth(tmp_path, file_format):
    movies = simulate_archive(n_movies=2, n_frames=20, shape=(64, 64))
    paths = write_simulation(
        "archive", tmp_path, format=file_format, n_movies=2, n_frames=20, shape=(64, 64)
    )
    archive = open_archive(tmp_path)
    assert [movie.name for movie in archive] == [movie.name for movie in movies]
    assert archive.problems == ()
    for path, movie, found in zip(paths, movies, archive, strict=True):
        assert (found.reader.read(0, 20) == movie.reader.read(0, 20)).all()
        assert found.reader.dtype == movie.reader.dtype
        for name in ("pixel_size_nm", "frame_time_s", "dose_rate_e_per_nm2_s"):
            assert getattr(found, name) == pytest.approx(getattr(movie, name))
        assert_same_rows(truth_of(open_movie(path)).defects, truth_of(movie).defects)


def test_the_truth_lies_beside_the_movie_as_tables(tmp_path):
    movie = simulate_movie("paper", n_frames=5, shape=(96, 96))
    write_simulation(movie, tmp_path)
    folder = tmp_path / "truth" / "paper-0"
    assert_same_rows(pd.read_parquet(folder / "defects.parquet"), truth_of(movie).defects)
    assert_same_rows(pd.read_parquet(folder / "frames.parquet"), truth_of(movie).frames)
    for name in ("sojourns", "rates", "generator", "diffusion", "limits"):
        assert len(pd.read_parquet(folder / f"{name}.parquet"))
    said = json.loads((folder / "params.json").read_text())
    assert Settings.from_dict(said["settings"]) == movie.reader.settings
    assert said["identity"] == movie.reader.identity


def test_a_written_movie_is_not_replaced_unless_asked(tmp_path):
    write_simulation("null", tmp_path, n_frames=2, shape=(64, 64))
    with pytest.raises(FileExistsError, match="exists; choose another folder, or replace it"):
        write_simulation("null", tmp_path, n_frames=3, shape=(64, 64))
    (path,) = write_simulation("null", tmp_path, n_frames=3, shape=(64, 64), overwrite=True)
    assert open_movie(path).n_frames == 3


def test_a_format_that_is_not_known_is_refused(tmp_path):
    with pytest.raises(ValueError, match="cannot be written as 'avi'; choose from"):
        write_simulation("null", tmp_path, format="avi")


def test_a_movie_that_cannot_be_written_leaves_nothing_that_looks_whole(tmp_path, monkeypatch):
    movie = simulate_movie("null", n_frames=40, shape=(64, 64))
    read = type(movie.reader).read

    def fail(self, start, stop):
        if start > 0:
            raise OSError("the disk is full")
        return read(self, start, stop)

    monkeypatch.setattr(type(movie.reader), "read", fail)
    with pytest.raises(OSError, match="the disk is full"):
        write_simulation(movie, tmp_path)
    assert not (tmp_path / "null-0.zarr").exists()
    monkeypatch.undo()
    (path,) = write_simulation(movie, tmp_path)
    assert open_movie(path).n_frames == 40


# -- motifs


@pytest.fixture
def motifs(tmp_path):
    """Difference images of the same Gaussian columns that the simulation would draw."""
    s = PRESETS["paper"].with_values(relaxation_nm=0.0)
    n, step_nm, pixel = 201, 0.006, s.instrument.pixel_size_nm
    y, x = (np.mgrid[:n, :n] - n // 2) * step_nm / pixel

    def column(Z, at_y=0.0, at_x=0.0):
        return (
            (Z / 74) ** 1.7
            * s.optics.cross_section_nm2
            / pixel**2
            * probe_of(s).profile(y - at_y, x - at_x)
        )

    bond = s.material.a_nm / np.sqrt(3) / pixel
    dopant = column(42) - column(74)
    bound = dopant - column(16, bond * np.sin(np.pi / 6), bond * np.cos(np.pi / 6))
    path = tmp_path / "motifs.npz"
    np.savez(path, pixel_size_nm=step_nm, **{"V_S": -column(16), "Mo_W": dopant, "Mo_W+V_S": bound})
    return path


@pytest.mark.parametrize("rotation_deg", [0.0, 13.0, 130.0])
def test_motifs_of_gaussians_draw_the_same_picture_as_columns(motifs, rotation_deg):
    columns = PRESETS["frozen"].with_values(
        relaxation_nm=0.0, rotation_deg=rotation_deg, shape=(160, 160)
    )
    drawn, wanted = (
        expected_image(columns.with_values(motifs=str(motifs)), 0),
        expected_image(columns, 0),
    )
    perfect = expected_image(columns.with_values(dopant_fraction=0.0, vacancy_fraction=0.0), 0)
    assert np.abs(wanted - perfect).max() > 50
    assert np.abs(drawn - wanted).max() < 0.05


def test_a_movie_knows_that_its_motifs_have_changed(motifs):
    movie = simulate_movie("paper", motifs=str(motifs))
    before = movie.reader.identity
    np.savez(motifs, pixel_size_nm=0.006, V_S=np.zeros((20, 20)))
    assert simulate_movie("paper", motifs=str(motifs)).reader.identity != before


def test_motifs_without_a_pixel_size_are_refused(tmp_path):
    np.savez(tmp_path / "m.npz", V_S=np.zeros((9, 9)))
    with pytest.raises(ValueError, match="does not say its pixel_size_nm"):
        simulate_movie(
            "paper", n_frames=1, shape=(64, 64), motifs=str(tmp_path / "m.npz")
        ).reader.read(0, 1)
