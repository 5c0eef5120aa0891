import dataclasses

import numpy as np
import pytest

from jaxdl.diagnostics import curve_shape

RNG = np.random.default_rng(0)
N = 200
T = np.arange(N) / N
NOISE = RNG.normal(size=N)


def correlated(noise, memory=0.9):
    """Autoregressive noise of variance 1."""
    values = np.zeros_like(noise)
    for t in range(1, len(noise)):
        values[t] = memory * values[t - 1] + noise[t]
    return values * np.sqrt(1 - memory**2)


CURVES = {
    "decay": np.exp(-10 * T),
    "noisy": np.exp(-10 * T) + 0.05 * NOISE,
    "line": 2 - T,
    "rise": np.exp(5 * T),
    "alternating": np.exp(-5 * T) + 0.1 * (-1.0) ** np.arange(N),
    "late drop": 1 / (1 + np.exp(50 * (T - 0.6))),
    "constant": np.ones(N),
}


def test_a_decay_by_hand():
    shape = curve_shape(CURVES["decay"])
    levels = np.median(CURVES["decay"].reshape(10, -1), axis=1)
    marks = np.array([1.0, *levels[[3, 6, 9]]])
    want = -np.diff(marks) / (1 - levels[9])
    np.testing.assert_allclose(shape.thirds, want)
    np.testing.assert_allclose(sum(shape.thirds), 1)
    assert (shape.first_bad, shape.descends, shape.rises) == (-1, True, False)
    assert (shape.rise, shape.period, shape.plateau) == (0, 0, 0)
    assert shape.noise < 1e-3


def test_noise_is_measured_in_units_of_the_descent():
    for scale in (0.01, 0.05):
        curve = CURVES["decay"] + scale * NOISE
        descent = curve[0] - np.median(curve.reshape(10, -1), axis=1).min()
        np.testing.assert_allclose(curve_shape(curve).noise, scale / descent, rtol=0.2)


@pytest.mark.parametrize("name", CURVES)
def test_shift_and_scale_change_nothing(name):
    want = dataclasses.astuple(curve_shape(CURVES[name]))
    for scale, shift in ((1e-3, 0.0), (1e6, 0.0), (1.0, -5.0), (3.0, 40.0)):
        got = dataclasses.astuple(curve_shape(scale * CURVES[name] + shift))
        for left, right in zip(got, want, strict=True):
            np.testing.assert_allclose(left, right, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("period", [2, 3, 4, 5, 8, 12])
def test_the_period_of_an_oscillation(period):
    """A fading one, under noise."""
    wave = np.cos(2 * np.pi * np.arange(N) / period + 0.3)
    curve = np.exp(-5 * T) + (0.3 - 0.2 * T) * wave + 0.01 * NOISE
    shape = curve_shape(curve)
    assert shape.period % period == 0
    assert shape.period > 0
    assert shape.alternation > 0.7


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("n", [50, 200])
def test_noise_has_no_period(memory, n):
    found = 0
    for seed in range(300):
        noise = correlated(np.random.default_rng(seed).normal(size=n), memory)
        found += curve_shape(noise).period > 0
    assert found <= 3  # of 300


@pytest.mark.parametrize("n", [50, 200])
def test_noise_is_not_biased_by_short_blocks(n):
    found = []
    for seed in range(300):
        noise = np.random.default_rng(seed).normal(size=n)
        curve = 2 - np.arange(n) / n + 0.02 * noise
        levels = np.median(curve.reshape(10, -1), axis=1)
        found.append(curve_shape(curve).noise * (max(curve[0], levels[0]) - levels[-1]))
    np.testing.assert_allclose(np.mean(found), 0.02, rtol=0.07)


def test_rounding_is_no_signal():
    for dtype in (np.float32, np.float64):
        eps = np.finfo(dtype).eps
        curve = (1 + eps * (np.arange(N) % 2)).astype(dtype)
        shape = curve_shape(curve)
        assert (shape.descends, shape.period, shape.noise) == (False, 0, 0)


def test_flat_noise_neither_rises_nor_descends():
    rises = descends = 0
    for seed in range(300):
        shape = curve_shape(np.random.default_rng(seed).normal(size=100))
        rises += shape.rises
        descends += shape.descends
    assert rises <= 15
    assert descends <= 15


def test_descent_under_noise_is_seen():
    for seed in range(50):
        noise = np.random.default_rng(seed).normal(size=N)
        assert curve_shape(np.exp(-5 * T) + 0.1 * noise).descends


def test_a_spike_is_not_a_trend():
    curve = CURVES["decay"].copy()
    curve[-30] = 50
    assert not curve_shape(curve).rises
    assert curve_shape(curve).noise < 1e-3


@pytest.mark.parametrize("records", [5, 40])
def test_a_rise_at_the_very_end_is_seen(records):
    curve = CURVES["decay"].copy()
    curve[-records:] += 1.5 ** np.arange(1, records + 1)
    shape = curve_shape(1e6 * curve)
    assert shape.rises
    assert shape.rise > 1
    assert shape.first_bad == -1


def test_plateaus_have_a_length():
    assert curve_shape(CURVES["line"]).plateau == 0
    for middle in (0.35, 0.6, 0.85):
        shape = curve_shape(1 / (1 + np.exp(100 * (T - middle))) + 1e-3 * NOISE)
        np.testing.assert_allclose(shape.plateau, middle, atol=0.1)


def test_huge_and_broken_numbers():
    curve = np.full(N, -1e308)
    curve[: N // 2] = 1e308
    assert curve_shape(curve).descends
    for bad in (np.nan, np.inf):
        curve = CURVES["decay"].copy()
        curve[[77, 90]] = bad
        shape = curve_shape(curve)
        assert shape.first_bad == 77
        assert not shape.descends
        assert np.isnan(shape.noise)


def test_rejects_what_is_no_curve():
    for values in (np.ones(49), np.ones((2, 60)), 1.0, ["a"] * 60):
        with pytest.raises(ValueError, match="values must be a real vector of 50"):
            curve_shape(values)


@pytest.mark.parametrize("height", [3.0, 5.0, 1e11])
def test_a_loss_that_leaps_at_once_and_stays(height):
    """It has no lower level to rise from but its first record."""
    curve = height + 0.1 * NOISE
    curve[0] = 2.3
    shape = curve_shape(curve)
    assert shape.leaps == (height > 2.9)
    back = np.concatenate([curve[:40], np.full(N - 40, 1.0)])
    assert not curve_shape(back).leaps
    assert not curve_shape(curve[::-1]).leaps


def test_noise_seldom_leaps():
    rng = np.random.default_rng(1)
    for _ in range(300):
        flat = rng.normal(size=N)
        assert not curve_shape(flat).leaps
        assert not curve_shape(flat + 5 * np.exp(-10 * T)).leaps
