from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from jaxdl.theory import ActivationMoments, activation_moments, random_features

RELU = ActivationMoments(1 / np.sqrt(2 * np.pi), 0.5, np.sqrt(0.25 - 0.5 / np.pi))
MOMENTS = ActivationMoments(0.0, 0.7, 0.4)


def test_moments_of_relu_and_erf_are_the_closed_forms():
    np.testing.assert_allclose(
        np.array(activation_moments(jax.nn.relu)), RELU, rtol=1e-14
    )
    erf = activation_moments(jax.scipy.special.erf)
    mu1, square = 2 / np.sqrt(3 * np.pi), 2 / np.pi * np.arcsin(2 / 3)
    want = [0, mu1, np.sqrt(square - mu1**2)]
    np.testing.assert_allclose(np.array(erf), want, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize(
    ("f", "kinks"),
    [
        (lambda z: jnp.tanh(3 * z), ()),
        (jax.nn.hard_tanh, ()),
        (lambda z: jnp.maximum(z - 0.3, 0.2 * z), (0.375,)),
    ],
)
def test_moments_agree_with_scipy(f, kinks):
    def mean(g):
        ends = sorted({-12, -1, 0, 1, 12, *kinks})
        pieces = pairwise(ends)
        return sum(quad(g, *piece, epsabs=1e-14)[0] for piece in pieces)

    with jax.enable_x64(True):
        value = jax.jit(f)
        mu0 = mean(lambda z: float(value(z)) * norm.pdf(z))
        mu1 = mean(lambda z: z * float(value(z)) * norm.pdf(z))
        square = mean(lambda z: float(value(z)) ** 2 * norm.pdf(z))
    got = np.array(activation_moments(f, kinks))
    want = [mu0, mu1, np.sqrt(square - mu0**2 - mu1**2)]
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-14)


def by_complex_iteration(psi1, psi2, ridge, moments):
    """The paper's fixed point and rational functions, as they are printed."""
    z = moments.mu1 / moments.mu_star
    xi = 1j * np.sqrt(psi1 * psi2 * ridge) / moments.mu_star
    nu1 = nu2 = 1j
    for _ in range(20000):
        shared = 1 - z**2 * nu1 * nu2
        new1 = psi1 / (-xi - nu2 - z**2 * nu2 / shared)
        new2 = psi2 / (-xi - nu1 - z**2 * nu1 / shared)
        nu1, nu2 = (nu1 + new1) / 2, (nu2 + new2) / 2
    c = (nu1 * nu2).real
    e0 = (
        -(c**5) * z**6
        + 3 * c**4 * z**4
        + (psi1 * psi2 - psi2 - psi1 + 1) * c**3 * z**6
        - 2 * c**3 * z**4
        - 3 * c**3 * z**2
        + (psi1 + psi2 - 3 * psi1 * psi2 + 1) * c**2 * z**4
        + 2 * c**2 * z**2
        + c**2
        + 3 * psi1 * psi2 * c * z**2
        - psi1 * psi2
    )
    e1 = psi2 * c**3 * z**4 - psi2 * c**2 * z**2 + psi1 * psi2 * c * z**2 - psi1 * psi2
    e2 = (
        c**5 * z**6
        - 3 * c**4 * z**4
        + (psi1 - 1) * c**3 * z**6
        + 2 * c**3 * z**4
        + 3 * c**3 * z**2
        - (psi1 + 1) * c**2 * z**4
        - 2 * c**2 * z**2
        - c**2
    )
    return e1 / e0, e2 / e0


@pytest.mark.parametrize(
    ("psi1", "psi2", "ridge"),
    [(1, 3, 0.1), (3, 1, 0.1), (2, 2, 1.0), (10, 0.3, 0.02), (0.2, 7, 5.0)],
)
def test_risk_is_the_published_one(psi1, psi2, ridge):
    for moments in (RELU, MOMENTS, ActivationMoments(0.0, 0.0, 1.0)):
        for_signal, for_noise = by_complex_iteration(psi1, psi2, ridge, moments)
        risk = random_features(psi1, psi2, ridge, moments, 1.7, 0.6, 0.3)
        bias, variance = 1.7 * for_signal + 0.3, 0.9 * for_noise
        got = [float(part) for part in risk]
        np.testing.assert_allclose(got, [bias, variance, bias + variance], rtol=1e-10)


@pytest.mark.parametrize(("psi1", "psi2"), [(1, 3), (2.999, 3), (0.1, 50)])
def test_noise_coefficient_without_a_ridge(psi1, psi2):
    for moments in (RELU, MOMENTS):
        variance = random_features(psi1, psi2, 0.0, moments, 1.0, 1.0).variance
        assert float(variance) == pytest.approx(psi1 / (psi2 - psi1), rel=1e-11)


def test_no_ridge_is_the_limit_of_a_small_one():
    for psi1, psi2 in ((1.0, 3.0), (5.0, 3.0)):
        small = random_features(psi1, psi2, 1e-11, MOMENTS, 1.7, 0.6)
        none = random_features(psi1, psi2, 0.0, MOMENTS, 1.7, 0.6)
        np.testing.assert_allclose(np.array(small), np.array(none), rtol=1e-8)


def test_threshold_without_a_ridge():
    risk = random_features(3.0, 3.0, 0.0, MOMENTS, 1.0, 0.0)
    assert np.isposinf(risk.bias)
    assert float(risk.variance) == 0
    assert np.isposinf(random_features(3.0, 3.0, 0.0, MOMENTS, 0.0, 1.0).variance)


@pytest.mark.parametrize("ridge", [0.0, 0.05])
def test_infinitely_many_features_or_examples(ridge):
    for many, infinite in (((1e9, 3), (np.inf, 3)), ((3, 1e9), (3, np.inf))):
        got = random_features(*infinite, ridge, MOMENTS, 1.7, 0.6, 0.3)
        want = random_features(*many, ridge, MOMENTS, 1.7, 0.6, 0.3)
        np.testing.assert_allclose(np.array(got), np.array(want), rtol=1e-7, atol=1e-8)
    assert float(random_features(3, np.inf, ridge, MOMENTS, 1.7, 0.6).variance) == 0


def test_risk_is_the_mean_of_real_fits():
    d, width, n, trials, ridge = 100, 150, 300, 12, 0.02
    signal, noise = 1.5, 0.3
    rng = np.random.default_rng(0)

    def sphere(count):
        x = rng.normal(size=(count, d))
        return np.sqrt(d) * x / np.linalg.norm(x, axis=1, keepdims=True)

    risks = []
    for _ in range(trials):
        beta, theta, x, fresh = sphere(1)[0], sphere(width), sphere(n), sphere(4000)
        beta *= np.sqrt(signal / d)
        y = x @ beta + np.sqrt(noise) * rng.normal(size=n)
        z, test = (np.maximum(u @ theta.T / np.sqrt(d), 0) for u in (x, fresh))
        penalty = n * width * ridge / d * np.eye(width)
        a = np.linalg.solve(z.T @ z + penalty, z.T @ y)
        risks.append(np.mean((test @ a - fresh @ beta) ** 2))
    want = random_features(width / d, n / d, ridge, RELU, signal, noise)
    error = abs(np.mean(risks) - float(want.total))
    assert error < 5 * np.std(risks, ddof=1) / np.sqrt(trials)


def test_the_best_ridge_makes_more_features_better():
    psi1, ridges = np.geomspace(0.1, 100, 30), np.geomspace(1e-4, 10, 120)

    def risk(psi1, ridge):
        return random_features(psi1, 3.0, ridge, RELU, 1.0, 0.5).total

    grid = np.asarray(jax.vmap(jax.vmap(risk, (None, 0)), (0, None))(psi1, ridges))
    assert np.all(np.diff(grid.min(axis=1)) < 0)
    assert 2 < psi1[np.argmax(grid[:, 0])] < 4  # the peak of a fixed small ridge


def risk_at(point):
    return random_features(*point, MOMENTS, 1.7, 0.6, 0.3).total


def check_derivative(function, derivative):
    function, derivative, h = jax.jit(function), jax.jit(derivative), 1e-5
    for point in np.array([[1.0, 3.0, 0.1], [2.0, 2.0, 0.1], [5.0, 2.0, 0.3]]):
        want = [
            (np.asarray(function(point + h * u)) - np.asarray(function(point - h * u)))
            / (2 * h)
            for u in np.eye(3)
        ]
        np.testing.assert_allclose(derivative(point), want, rtol=1e-6, atol=1e-8)


def test_slope_is_that_of_finite_differences():
    with jax.enable_x64(True):
        check_derivative(risk_at, jax.grad(risk_at))


@pytest.mark.slow
def test_curvature_is_that_of_finite_differences():
    with jax.enable_x64(True):
        check_derivative(jax.grad(risk_at), jax.jacfwd(jax.grad(risk_at)))


def test_the_slope_at_no_ridge_is_one_sided():
    def risk(ridge):
        return random_features(5.0, 2.0, ridge, MOMENTS, 1.7, 0.6).total

    with jax.enable_x64(True):
        h = 1e-6
        values = np.array([float(risk(k * h)) for k in range(3)])
        want = values @ [-1.5, 2.0, -0.5] / h
        assert float(jax.grad(risk)(0.0)) == pytest.approx(want, rel=1e-5)


def test_vmap_equals_a_loop():
    psi1 = np.array([0.5, 2.0, 2.5, np.inf])

    def risk(psi1):
        return random_features(psi1, 2.0, 0.1, MOMENTS, 1.7, 0.6)

    got = np.array(jax.vmap(risk)(psi1))
    loop = np.array([risk(psi) for psi in psi1.tolist()])
    np.testing.assert_allclose(got, loop.T, rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"psi1": 0}, r"psi1 must be in \(0, inf\], got 0"),
        ({"psi2": -1.0}, "psi2 must be"),
        ({"psi1": np.inf, "psi2": np.inf}, "psi1 or psi2 must be finite"),
        ({"psi1": np.ones(2)}, r"psi1 .* shape \(\), got float64 \(2,\)"),
        ({"ridge": -1}, "ridge must be"),
        ({"signal": -1}, "signal must be"),
        ({"noise": -1}, "noise must be"),
        ({"nonlinear": -1}, "nonlinear must be"),
        ({"moments": (0.0, 1.0, 1.0)}, "moments must be ActivationMoments, got"),
        ({"moments": ActivationMoments(0.0, 1.0, 0.0)}, "mu_star must be"),
        ({"moments": ActivationMoments(0.0, np.nan, 1.0)}, "mu1 must be"),
    ],
)
def test_errors(change, message):
    good = {"psi1": 1.0, "psi2": 2.0, "ridge": 0.1, "moments": MOMENTS}
    with pytest.raises(ValueError, match=message):
        random_features(**(good | {"signal": 1.0, "noise": 1.0} | change))


def test_an_activation_must_keep_the_shape():
    with pytest.raises(ValueError, match=r"f must keep the shape \(896,\), got \(\)"):
        activation_moments(jnp.sum)
