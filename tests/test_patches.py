"""Neighbourhoods look the same whatever the rotation and the pixel size of the movie."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from stemkin.devices import to_host
from stemkin.kernels.common.medians import median, quantile, row_medians
from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL, honeycomb, sites
from stemkin.kernels.crystal.patches import (
    CROP,
    HOLLOW,
    PATCH,
    STEP,
    axes_of,
    centre_sites,
    crops,
    hollow_of,
    patches,
    turn_of,
)
from stemkin.kernels.images.coarse import smooth_from_bins, square_means
from stemkin.kernels.images.local_means import gaussian_means, gaussian_slopes
from stemkin.kernels.images.sampling import sampled


def blobs(shape, points, sd_px, heights=1.0):
    y, x = np.arange(shape[0])[:, None, None], np.arange(shape[1])[None, :, None]
    points, heights = np.atleast_2d(points), np.broadcast_to(heights, len(np.atleast_2d(points)))
    return (
        heights * np.exp(-0.5 * ((y - points[:, 0]) ** 2 + (x - points[:, 1]) ** 2) / sd_px**2)
    ).sum(axis=2)


def test_a_turn_takes_x_towards_y():
    down, right = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    third = turn_of(1) @ right
    np.testing.assert_allclose(third, np.sin(2 * np.pi / 3) * down + np.cos(2 * np.pi / 3) * right)
    np.testing.assert_allclose(turn_of(np.array([0, 3]))[1], np.eye(2), atol=1e-12)


def test_centres_and_kinds_by_hand():
    lattice = honeycomb(10.0, metal=(20.0, 20.0))
    asked = np.array([lattice.metal, lattice.chalcogen, hollow_of(lattice)]) + 0.7
    centres, kinds = centre_sites(lattice, asked)
    assert kinds.tolist() == [METAL, CHALCOGEN, HOLLOW]
    np.testing.assert_allclose(centres, asked - 0.7)
    assert centre_sites(lattice, np.empty((0, 2)))[0].shape == (0, 2)


@settings(deadline=None, max_examples=15)
@given(angle=st.floats(-29, 29), spacing=st.floats(7.0, 16.0))
def test_a_patch_does_not_depend_on_rotation_and_pixel_size(angle, spacing):
    def patch_of(lattice):
        neighbours = lattice.metal + np.array([[0.0, 0.0], lattice.a1, lattice.bond])
        image = blobs((64, 64), neighbours, 0.2 * lattice.spacing_px, np.array([1.0, 0.5, 0.25]))
        return patches(image, lattice.metal[None], axes_of(lattice))[0]

    reference = patch_of(honeycomb(12.0, metal=(32.0, 32.0)))
    turned = patch_of(honeycomb(spacing, angle_deg=angle, metal=(31.4, 32.3)))
    assert np.abs(turned - reference).max() < 0.12  # linear interpolation of a blob of 1.4 px


def test_a_patch_points_along_the_lattice():
    lattice = honeycomb(12.0, angle_deg=15.0, metal=(40.0, 40.0))
    image = blobs((80, 80), lattice.metal + lattice.a1, 1.5)
    patch = patches(image, lattice.metal[None], axes_of(lattice))[0]
    middle = PATCH // 2
    assert np.unravel_index(patch.argmax(), patch.shape) == (middle, middle + round(1 / STEP))


def test_thirds_turn_a_neighbourhood_back():
    lattice = honeycomb(12.0, metal=(40.0, 40.0))
    steps = turn_of(np.arange(3)) @ lattice.bond
    images = [blobs((80, 80), lattice.metal + step, 1.5) for step in steps]
    folded = [
        patches(image, lattice.metal[None], axes_of(lattice), np.array([k]))[0]
        for k, image in enumerate(images)
    ]
    np.testing.assert_allclose(folded[1], folded[0], atol=0.1)
    np.testing.assert_allclose(folded[2], folded[0], atol=0.1)
    assert (
        np.abs(patches(images[1], lattice.metal[None], axes_of(lattice))[0] - folded[0]).max() > 0.5
    )


def test_a_square_crystal_is_only_turned_and_scaled():
    from dataclasses import replace

    square = replace(honeycomb(10.0), a2=np.array([10.0, 0.0]), is_honeycomb=False)
    np.testing.assert_allclose(axes_of(square), 10.0 * np.eye(2), atol=1e-9)
    assert set(centre_sites(square, np.random.default_rng(0).random((50, 2)) * 30)[1].tolist()) <= {
        METAL,
        CHALCOGEN,
    }


def test_gaussian_means_are_weighted_means():
    image = np.random.default_rng(0).random((30, 30))
    y, x = np.mgrid[:30, :30]
    weight = np.exp(-0.5 * (((y - 14.3) / 1.1) ** 2 + ((x - 15.6) / 1.1) ** 2))
    near = (np.abs(y - 14) <= 3) & (np.abs(x - 16) <= 3)  # 2.7 standard deviations
    expected = (weight * near * image).sum() / (weight * near).sum()
    assert gaussian_means(image, np.array([14.3, 15.6]), 1.1) == pytest.approx(expected)


def test_gaussian_means_see_only_the_frame():
    image = np.ones((20, 20))
    inside, outside = gaussian_means(image, np.array([[0.0, 0.0], [-40.0, 5.0]]), 1.0)
    assert inside == pytest.approx(1.0)
    assert np.isnan(outside)


def test_crops_are_the_pixels_themselves():
    image = np.arange(100.0 * 100).reshape(100, 100)
    whole, corner = crops(image, np.array([[50.2, 49.9], [0.0, 0.0]]))
    np.testing.assert_array_equal(
        whole, image[50 - CROP // 2 : 50 + CROP // 2, 50 - CROP // 2 : 50 + CROP // 2]
    )
    assert corner[CROP // 2, CROP // 2] == image[0, 0]
    assert (corner[: CROP // 2] == 0).all()


def test_every_site_of_a_frame_is_its_own_centre():
    lattice = honeycomb(10.0, angle_deg=7.0, metal=(30.0, 30.0))
    for kind in (METAL, CHALCOGEN):
        points = sites(lattice, (60, 60), kind)
        centres, kinds = centre_sites(lattice, points)
        assert (kinds == kind).all()
        np.testing.assert_allclose(centres, points, atol=1e-9)


def test_slopes_are_those_of_the_plane_that_fits_best():
    image = np.random.default_rng(1).random((30, 30))
    y, x = np.mgrid[10:19, 12:21]
    y, x, seen = y - 14.3, x - 15.6, image[10:19, 12:21]
    weight = np.exp(-0.5 * (y**2 + x**2) / 1.1**2)
    near = (np.abs(y + 0.3) < 3.5) & (np.abs(x - 0.4) < 3.5)  # 2.7 standard deviations
    weight = np.sqrt(weight * near)
    terms = np.stack([np.ones(y.shape), y, x], axis=-1) * weight[..., None]
    plane = np.linalg.lstsq(terms.reshape(-1, 3), (weight * seen).ravel(), rcond=None)[0]
    found = gaussian_slopes(image, np.array([14.3, 15.6]), 1.1)
    np.testing.assert_allclose(found[1:], plane[1:], rtol=1e-9)
    assert found[0] == pytest.approx(gaussian_means(image, np.array([14.3, 15.6]), 1.1))


def test_what_is_sampled_is_linear_between_pixels_and_nothing_beyond_the_frame():
    image = np.random.default_rng(2).random((7, 9)).astype(np.float32)
    points = np.random.default_rng(3).uniform(-1, 9, (300, 2))
    points[:3] = [[6.0, 8.0], [0.0, 0.0], [6.0, 2.5]]
    expected = ndimage.map_coordinates(image.astype(float), points.T, order=1, mode="constant")
    np.testing.assert_allclose(sampled(image, points), expected, rtol=1e-6, atol=1e-7)


def test_medians_are_those_of_numpy():
    rng = np.random.default_rng(4)
    for n in (1, 2, 7, 8, 2001):
        values = rng.normal(size=n).astype(np.float32)
        assert median(values) == np.median(values.astype(float))
    assert np.isnan(median(np.zeros(0)))
    rows = np.where(rng.random((50, 9)) < 0.3, np.nan, rng.normal(size=(50, 9)))
    np.testing.assert_array_equal(row_medians(rows), np.nanmedian(rows, axis=1))
    assert np.isnan(row_medians(np.full((1, 4), np.nan)))[0]


def test_quantiles_are_those_of_numpy():
    rng = np.random.default_rng(5)
    for n in (1, 2, 5, 400):
        assert quantile(np.full(n, 3.0), 0.3) == 3.0
        values = rng.normal(size=n)
        for share in (0.0, 0.02, 0.5, 0.77, 0.98, 1.0):
            assert quantile(values, share) == pytest.approx(np.quantile(values, share), rel=1e-15)
    assert np.isnan(quantile(np.zeros(0), 0.5))


def test_what_is_smooth_is_told_by_the_means_of_squares_of_pixels():
    noise = ndimage.gaussian_filter(np.random.default_rng(6).normal(size=(131, 118)), 4.0)
    wanted = ndimage.gaussian_filter(noise, 8.0, mode="constant", truncate=6.0)
    found = smooth_from_bins(square_means(noise, 6), 6, noise.shape, 8.0)
    inside = np.s_[40:-40, 40:-40]
    assert np.abs(found - wanted)[inside].max() < 0.01 * np.abs(wanted[inside]).max()
    xp = pytest.importorskip("array_api_strict")
    others = to_host(square_means(xp.asarray(noise), 6))
    np.testing.assert_allclose(others, square_means(noise, 6), atol=1e-9)
