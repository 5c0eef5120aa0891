import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq

from jaxdl.theory import (
    degrees_of_freedom,
    effective_ridge,
    ridge_any_covariance,
    ridge_isotropic,
    ridgeless_isotropic,
)

RNG = np.random.default_rng(0)
EIGENVALUES = np.arange(1, 31) ** -1.5
COEFFICIENTS = RNG.normal(size=30)
NOISE = 0.3


def kappa_by_brent(eigenvalues, n, ridge):
    def excess(kappa):
        df1 = np.sum(eigenvalues / (eigenvalues + kappa))
        return kappa - ridge - kappa / n * df1

    return brentq(excess, 1e-9, ridge + eigenvalues.sum(), xtol=1e-15, rtol=1e-14)


@pytest.mark.parametrize(
    ("n", "ridge"), [(12, 0.0), (12, 0.02), (45, 0.02), (30, 1e-3)]
)
def test_effective_ridge_is_the_root_that_brent_finds(n, ridge):
    want = kappa_by_brent(EIGENVALUES, n, ridge)
    got = float(effective_ridge(EIGENVALUES, n, ridge))
    assert got == pytest.approx(want, rel=1e-11)


def test_effective_ridge_by_hand():
    # Equal eigenvalues 2: kappa^2 + (2 - ridge - 2 p / n) kappa = 2 ridge.
    assert float(effective_ridge(np.full(30, 2.0), 10, 0.0)) == pytest.approx(4, 1e-14)
    assert float(effective_ridge(np.full(10, 2.0), 10, 0.5)) == pytest.approx(
        (0.5 + np.sqrt(4.25)) / 2, rel=1e-14
    )
    assert float(effective_ridge(np.full(11, 2.0), 10, 0.0)) == pytest.approx(0.2)
    assert float(effective_ridge(np.full(9, 2.0), 10, 0.0)) == 0
    assert float(effective_ridge(np.full(10, 2.0), 10, 0.0)) == 0
    assert float(effective_ridge(np.zeros(4), 10, 0.7)) == pytest.approx(0.7, rel=1e-15)


@pytest.mark.parametrize("ridge", [1e-200, 1e-30, 1e-14])
@pytest.mark.parametrize("p", [9, 10])
def test_effective_ridge_keeps_its_digits_where_it_is_tiny(p, ridge):
    # kappa n / (n - p) = ridge below the threshold, kappa^2 = ridge at it.
    got = float(effective_ridge(np.ones(p), 10, ridge))
    want = 10 * ridge if p < 10 else np.sqrt(ridge) + ridge / 2
    assert got == pytest.approx(want, rel=1e-14 if ridge < 1e-20 else 1e-11, abs=0)


def test_effective_ridge_on_a_spectrum_of_many_decades():
    eigenvalues = 10.0 ** -np.arange(0, 60)
    for n in (3, 20, 50):
        kappa = float(effective_ridge(eigenvalues, n, 0.0))
        df1, df2 = degrees_of_freedom(eigenvalues, kappa)
        assert float(df1) == pytest.approx(n, rel=1e-14)
        assert float(df2) < n
        assert kappa == pytest.approx(10.0 ** (0.5 - n), rel=0.01, abs=0)


def test_degrees_of_freedom_by_hand():
    df1, df2 = degrees_of_freedom(np.array([3.0, 1.0, 0.0]), 1.0)
    assert (float(df1), float(df2)) == (1.25, 0.8125)
    df1, df2 = degrees_of_freedom(np.array([3.0, 1.0, 0.0]), 0.0)
    assert (float(df1), float(df2)) == (2, 2)


@pytest.mark.parametrize("ridge", [0.0, 1e-3, 0.4])
@pytest.mark.parametrize("p", [10, 19, 60])
def test_equal_eigenvalues_are_isotropic_ridge(p, ridge):
    coefficients = RNG.normal(size=p)
    signal = np.sum(coefficients**2)
    got = ridge_any_covariance(np.ones(p), coefficients, 20, ridge, NOISE)
    want = ridge_isotropic(p / 20, ridge, signal, NOISE)
    np.testing.assert_allclose(np.array(got), np.array(want), rtol=1e-12, atol=1e-15)


def test_scale_of_the_features_scales_the_ridge():
    got = ridge_any_covariance(4 * EIGENVALUES, COEFFICIENTS / 2, 12, 0.08, NOISE)
    want = ridge_any_covariance(EIGENVALUES, COEFFICIENTS, 12, 0.02, NOISE)
    np.testing.assert_allclose(np.array(got), np.array(want), rtol=1e-12)


def test_below_the_threshold_the_ridgeless_risk_forgets_the_covariance():
    got = ridge_any_covariance(EIGENVALUES, COEFFICIENTS, 50, 0.0, NOISE)
    want = ridgeless_isotropic(30 / 50, 9.9, NOISE)
    np.testing.assert_allclose(np.array(got), np.array(want), rtol=1e-13)


@pytest.mark.parametrize("ridge", [0.0, 0.02])
@pytest.mark.parametrize("n", [12, 30, 45])
def test_zero_eigenvalues_have_no_effect(n, ridge):
    padded = np.append(EIGENVALUES, np.zeros(20))
    coefficients = np.append(COEFFICIENTS, np.ones(20))
    got = ridge_any_covariance(padded, coefficients, n, ridge, NOISE)
    want = ridge_any_covariance(EIGENVALUES, COEFFICIENTS, n, ridge, NOISE)
    np.testing.assert_allclose(np.array(got), np.array(want), rtol=1e-13)


def test_threshold_without_a_ridge():
    risk = ridge_any_covariance(EIGENVALUES, COEFFICIENTS, 30, 0.0, NOISE)
    assert float(risk.bias) == 0
    assert np.isposinf(risk.variance)
    silent = ridge_any_covariance(EIGENVALUES, COEFFICIENTS, 30, 0.0, 0.0)
    assert float(silent.total) == 0


@pytest.mark.parametrize("n", [12, 29, 31, 45])
def test_a_small_ridge_tends_to_none(n):
    got = ridge_any_covariance(EIGENVALUES, COEFFICIENTS, n, 1e-13, NOISE)
    want = ridge_any_covariance(EIGENVALUES, COEFFICIENTS, n, 0.0, NOISE)
    np.testing.assert_allclose(np.array(got), np.array(want), rtol=1e-7, atol=1e-15)


def test_a_negative_eigenvalue_gives_nan():
    risk = ridge_any_covariance(np.array([1.0, -1e-9]), np.ones(2), 5, 0.1, NOISE)
    assert np.isnan(risk.total)


@pytest.mark.parametrize("p", [60, 240])
def test_risk_is_the_mean_of_real_fits(p):
    n, trials, ridge = 120, 60, 0.01
    rng = np.random.default_rng(p)
    eigenvalues, beta = np.arange(1, p + 1) ** -0.8, rng.normal(size=p)
    x = rng.normal(size=(trials, n, p)) * np.sqrt(eigenvalues)
    y = x @ beta + np.sqrt(NOISE) * rng.normal(size=(trials, n))
    gram = x @ x.swapaxes(1, 2) + n * ridge * np.eye(n)
    fit = x.swapaxes(1, 2) @ np.linalg.solve(gram, y[:, :, None])
    risks = (fit[:, :, 0] - beta) ** 2 @ eigenvalues
    want = float(ridge_any_covariance(eigenvalues, beta, n, ridge, NOISE).total)
    assert abs(risks.mean() - want) < 5 * risks.std() / np.sqrt(trials)


def along(x):
    """The risk with eigenvalues, number of examples and ridge along a line."""
    direction = np.random.default_rng(1).normal(size=30) * EIGENVALUES
    spectrum = EIGENVALUES + (x - 0.02) * direction
    return ridge_any_covariance(spectrum, COEFFICIENTS, 600 * x, x, NOISE).total


def check_derivative(function, derivative):
    function, derivative, h = jax.jit(function), jax.jit(derivative), 1e-6
    for x in (0.02, 0.07):
        want = (float(function(x + h)) - float(function(x - h))) / (2 * h)
        assert float(derivative(x)) == pytest.approx(want, rel=1e-7)


def test_slope_is_that_of_finite_differences():
    with jax.enable_x64(True):
        check_derivative(along, jax.grad(along))


@pytest.mark.slow
def test_curvature_is_that_of_finite_differences():
    with jax.enable_x64(True):
        check_derivative(jax.grad(along), jax.grad(jax.grad(along)))


@pytest.mark.parametrize("n", [12, 45])
def test_the_slope_at_no_ridge_is_one_sided(n):
    def risk(ridge):
        return ridge_any_covariance(EIGENVALUES, COEFFICIENTS, n, ridge, NOISE).total

    with jax.enable_x64(True):
        risk, h = jax.jit(risk), 1e-7
        values = np.array([float(risk(k * h)) for k in range(3)])
        want = values @ [-1.5, 2.0, -0.5] / h
        assert float(jax.grad(risk)(0.0)) == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize("n", [12, 45])
def test_the_slope_with_respect_to_a_zero_eigenvalue(n):
    def risk(e):
        eigenvalues = jnp.append(EIGENVALUES, e)
        coefficients = np.append(COEFFICIENTS, 1.0)
        return ridge_any_covariance(eigenvalues, coefficients, n, 0.02, NOISE).total

    with jax.enable_x64(True):
        risk, h = jax.jit(risk), 1e-6
        values = np.array([float(risk(k * h)) for k in range(3)])
        want = values @ [-1.5, 2.0, -0.5] / h
        assert float(jax.grad(risk)(0.0)) == pytest.approx(want, rel=1e-6)


def test_vmap_equals_a_loop():
    ridges = np.array([0.0, 1e-3, 0.5])
    spectra = RNG.uniform(size=(3, 30))

    def risk(eigenvalues, ridge):
        return ridge_any_covariance(eigenvalues, COEFFICIENTS, 12, ridge, NOISE)

    def freedom(eigenvalues, ridge):
        return degrees_of_freedom(eigenvalues, effective_ridge(eigenvalues, 12, ridge))

    for function in (risk, freedom):
        got = np.array(jax.vmap(function)(spectra, ridges))
        loop = [function(*row) for row in zip(spectra, ridges.tolist(), strict=True)]
        np.testing.assert_allclose(got, np.array(loop).T, rtol=1e-12)


def test_jit_at_a_fixed_length_serves_every_size():
    traces = []

    @jax.jit
    def risk(eigenvalues, n, ridge):
        traces.append(1)
        return ridge_any_covariance(eigenvalues, COEFFICIENTS, n, ridge, NOISE).total

    with jax.enable_x64(True):
        for n, ridge in ((12, 0.0), (45, 0.0), (30, 0.1)):
            want = ridge_any_covariance(EIGENVALUES, COEFFICIENTS, n, ridge, NOISE)
            got = float(risk(EIGENVALUES, n, ridge))
            assert got == pytest.approx(float(want.total), rel=1e-12)
    assert len(traces) == 1


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (effective_ridge, (np.ones((2, 2)), 5, 0.1), r"eigenvalues .* \(any,\)"),
        (effective_ridge, (np.ones(2), 0, 0.1), r"n must be in \(0, inf\), got 0"),
        (effective_ridge, (np.ones(2), 5, -0.1), "ridge must be"),
        (degrees_of_freedom, (1.0, 0.1), r"eigenvalues .* shape \(any,\), got"),
        (degrees_of_freedom, (np.ones(2), -0.1), "kappa must be"),
        (ridge_any_covariance, (np.ones(2), np.ones(3), 5, 0, 0), "coefficients .*2,"),
        (ridge_any_covariance, (np.ones(2), 1j * np.ones(2), 5, 0, 0), "complex128"),
        (ridge_any_covariance, (np.ones(2), np.ones(2), -5, 0, 0), "n must be"),
        (ridge_any_covariance, (np.ones(2), np.ones(2), 5, -1, 0), "ridge must be"),
        (ridge_any_covariance, (np.ones(2), np.ones(2), 5, 0, -1), "noise must be"),
    ],
)
def test_errors(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        function(*arguments)


def test_the_peak_is_infinite_in_a_compiled_program_too():
    """At rank n a division by a constant must not leave a remainder."""

    @jax.jit
    def risk(eigenvalues):
        ones = jnp.ones_like(eigenvalues)
        return ridge_any_covariance(eigenvalues, ones, 200, 0.0, 0.1).total

    with jax.enable_x64(True):
        for padding in (0, 56):
            spectrum = np.pad(np.geomspace(1e-3, 1, 200), (0, padding))
            assert float(risk(spectrum)) == np.inf
