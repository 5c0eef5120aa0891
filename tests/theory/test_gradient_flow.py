from itertools import pairwise

import jax
import numpy as np
import pytest
from scipy.integrate import quad

from jaxdl.theory import gradient_flow_isotropic, ridgeless_isotropic


def by_quad(gamma, t):
    """Bias and variance per unit of signal and noise, over the angle of s."""
    gap = ((1 - gamma) / (1 + np.sqrt(gamma))) ** 2

    def s(angle):
        return gap + 4 * np.sqrt(gamma) * np.sin(angle / 2) ** 2

    def bias(angle):
        return 2 / np.pi * np.sin(angle) ** 2 / s(angle) * np.exp(-2 * t * s(angle))

    def variance(angle):
        fitted = np.expm1(-t * s(angle)) ** 2 / s(angle)
        return 2 / np.pi * np.sin(angle) ** 2 / s(angle) * gamma * fitted

    ends = [0, *np.geomspace(1e-9, np.pi, 40)]
    pieces = list(pairwise(ends))
    return [
        sum(quad(f, *piece, epsabs=1e-16, epsrel=1e-12)[0] for piece in pieces)
        for f in (bias, variance)
    ]


@pytest.mark.parametrize("gamma", [0.1, 0.999, 1.0, 1.0 + 1e-7, 6.0])
@pytest.mark.parametrize("t", [0.3, 40.0, 1e5])
def test_quadrature_agrees_with_scipy(gamma, t):
    bias, variance = by_quad(gamma, t)
    bias += max(1 - 1 / gamma, 0)
    risk = gradient_flow_isotropic(gamma, t, 1.7, 0.6)
    assert float(risk.bias) == pytest.approx(1.7 * bias, rel=1e-11, abs=1e-14)
    assert float(risk.variance) == pytest.approx(0.6 * variance, rel=1e-11)
    assert float(risk.total) == float(risk.bias + risk.variance)


def test_starts_at_zero_and_by_hand_for_few_features():
    assert float(gradient_flow_isotropic(3.0, 0.0, 1.7, 0.6).total) == pytest.approx(
        1.7
    )
    # As gamma -> 0 all eigenvalues come to 1.
    risk = gradient_flow_isotropic(1e-10, 0.8, 1.7, 0.6)
    assert float(risk.bias) == pytest.approx(1.7 * np.exp(-1.6), rel=1e-9)
    assert float(risk.variance) == pytest.approx(
        0.6e-10 * (1 - np.exp(-0.8)) ** 2, rel=1e-9
    )


@pytest.mark.parametrize("gamma", [0.2, 0.99, 1.01, 5.0])
def test_ends_at_minimum_norm_least_squares(gamma):
    got = gradient_flow_isotropic(gamma, 1e9, 1.7, 0.6)
    want = ridgeless_isotropic(gamma, 1.7, 0.6)
    np.testing.assert_allclose(np.array(got), np.array(want), rtol=1e-12, atol=1e-15)


def test_variance_at_the_threshold_grows_as_the_root_of_time():
    variances = [
        float(gradient_flow_isotropic(1.0, t, 1.0, 1.0).variance) for t in (1e12, 1e16)
    ]
    assert variances[1] / variances[0] == pytest.approx(100, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_risk_is_the_mean_of_real_fits(gamma):
    n, trials, t, signal, noise = 120, 40, 3.0, 2.0, 0.5
    p = int(gamma * n)
    rng = np.random.default_rng(p)
    beta = rng.normal(size=p)
    beta *= np.sqrt(signal) / np.linalg.norm(beta)
    x = rng.normal(size=(trials, n, p))
    y = x @ beta + np.sqrt(noise) * rng.normal(size=(trials, n))
    rates, steps = 0.01, 300
    fit, transposed = np.zeros((trials, p, 1)), x.swapaxes(1, 2)
    for _ in range(steps):
        fit = fit + rates / n * (transposed @ (y[:, :, None] - x @ fit))
    assert rates * steps == pytest.approx(t)
    risks = np.sum((fit[:, :, 0] - beta) ** 2, 1)
    want = float(gradient_flow_isotropic(gamma, t, signal, noise).total)
    assert abs(risks.mean() - want) < 5 * risks.std() / np.sqrt(trials)


def test_stopping_early_is_better_than_fitting_the_noise():
    t = np.geomspace(0.01, 1e4, 60)
    risk = np.asarray(
        jax.vmap(lambda t: gradient_flow_isotropic(0.8, t, 1.0, 1.0).total)(t)
    )
    best = np.argmin(risk)
    assert 0 < best < t.size - 1
    assert np.all(np.diff(risk[: best + 1]) < 0)
    assert np.all(np.diff(risk[best:]) >= -1e-12)


def test_vmap_equals_a_loop():
    t = np.array([0.0, 0.5, 1e3])
    got = jax.vmap(lambda t: gradient_flow_isotropic(1.5, t, 1.7, 0.6))(t)
    loop = [gradient_flow_isotropic(1.5, s, 1.7, 0.6) for s in t.tolist()]
    np.testing.assert_allclose(np.array(got), np.array(loop).T, rtol=1e-13)


@pytest.mark.parametrize("gamma", [0.7, 1.6])
def test_derivatives_are_those_of_finite_differences(gamma):
    def risk(gamma, t):
        return gradient_flow_isotropic(gamma, t, 1.7, 0.6).total

    with jax.enable_x64(True):
        got, h = jax.grad(risk, (0, 1))(gamma, 2.0), 1e-5
        by_gamma = float(risk(gamma + h, 2.0)) - float(risk(gamma - h, 2.0))
        by_t = float(risk(gamma, 2.0 + h)) - float(risk(gamma, 2.0 - h))
        want = [by_gamma / (2 * h), by_t / (2 * h)]
        np.testing.assert_allclose(np.array(got), want, rtol=1e-8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 1.0, 1.0, 1.0), "gamma must be"),
        ((1.0, -1.0, 1.0, 1.0), r"t must be in \[0, inf\)"),
        ((1.0, np.inf, 1.0, 1.0), "t must be"),
        ((1.0, np.ones(3), 1.0, 1.0), r"t must be .* shape \(\), got float64 \(3,\)"),
        ((1.0, 1.0, -1.0, 1.0), "signal must be"),
        ((1.0, 1.0, 1.0, -1.0), "noise must be"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        gradient_flow_isotropic(*arguments)
