import math

import numpy as np
import pytest

from vqpriors.tokenizer.base.reconstruction import psnr, ssim


def pictures(*shape, seed=0):
    return np.random.default_rng(seed).integers(256, size=shape, dtype=np.uint8)


def test_psnr_of_a_difference_of_one_level_is_48_db():
    black = np.zeros((2, 1, 4, 4), np.uint8)
    assert psnr(black, black + 1) == pytest.approx(20 * math.log10(255))


def test_psnr_averages_pictures_not_errors():
    black = np.zeros((2, 1, 4, 4), np.uint8)
    changed = black.copy()
    changed[0], changed[1] = 255, 51  # 0 dB and 20 log10(5) dB
    assert psnr(black, changed) == pytest.approx(10 * math.log10(5))


def test_psnr_of_equal_pictures_is_100():
    pixels = pictures(3, 3, 8, 8)
    assert psnr(pixels, pixels) == 100.0


def test_psnr_of_the_smallest_difference_at_128_px_is_below_the_cap():
    black = np.zeros((1, 3, 128, 128), np.uint8)
    changed = black.copy()
    changed[0, 0, 0, 0] = 1
    assert 95 < psnr(black, changed) < 96


def test_ssim_of_equal_pictures_is_one():
    pixels = pictures(3, 3, 28, 28)
    assert ssim(pixels, pixels) == pytest.approx(1.0, abs=1e-6)


def test_ssim_of_flat_pictures_compares_their_means():
    low, high = np.full((1, 1, 28, 28), 51, np.uint8), np.full((1, 1, 28, 28), 102, np.uint8)
    expected = (2 * 0.2 * 0.4 + 1e-4) / (0.2**2 + 0.4**2 + 1e-4)
    assert ssim(low, high) == pytest.approx(expected, abs=1e-4)


def test_ssim_is_the_formula_of_the_paper_around_every_pixel():
    first, second = (pictures(1, 1, 12, 12, seed=seed) for seed in (0, 1))
    padded = [np.pad(p[0, 0] / 255, 5, mode="reflect") for p in (first, second)]
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    window /= window.sum()
    values = []
    for top in range(12):
        for left in range(12):
            x, y = (p[top : top + 11, left : left + 11] for p in padded)
            mx, my = (window * x).sum(), (window * y).sum()
            vx, vy = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum()
            cov = (window * (x - mx) * (y - my)).sum()
            means = (2 * mx * my + 1e-4) / (mx**2 + my**2 + 1e-4)
            values.append(means * (2 * cov + 9e-4) / (vx + vy + 9e-4))
    assert ssim(first, second) == pytest.approx(np.mean(values), abs=1e-5)


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_metrics_do_not_depend_on_the_batch_size(metric):
    first, second = (pictures(7, 3, 16, 16, seed=seed) for seed in (0, 1))
    whole = metric(first, second)
    assert metric(first, second, batch_size=3) == pytest.approx(whole, abs=1e-6)
    assert metric(first, second, batch_size=1) == pytest.approx(whole, abs=1e-6)


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_pictures_of_unequal_shape_or_dtype_are_refused(metric):
    pixels = pictures(2, 1, 16, 16)
    with pytest.raises(ValueError, match="same shape"):
        metric(pixels, pixels[:1])
    with pytest.raises(ValueError, match="uint8"):
        metric(pixels, pixels / 255)
    with pytest.raises(ValueError, match="M at least 1"):
        metric(pixels[:0], pixels[:0])


def test_ssim_refuses_pictures_smaller_than_its_window():
    pixels = pictures(1, 1, 10, 28)
    with pytest.raises(ValueError, match="at least 11 px"):
        ssim(pixels, pixels)
