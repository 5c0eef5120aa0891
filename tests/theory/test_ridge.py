import json
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxdl.theory import (
    optimal_ridge,
    ridge_isotropic,
    ridge_misspecified,
    ridgeless_isotropic,
)

GOLDEN = Path(__file__).parent.parent / "golden"


def golden(name):
    return json.loads((GOLDEN / name).read_text())


def test_ridge_is_golden():
    data = golden("hastie_isotropic_ridge.json")
    for row in data["rows"]:
        risk = ridge_isotropic(row["gamma"], row["lam"], data["r2"], data["s2"])
        got = [float(part) for part in risk]
        np.testing.assert_allclose(
            got, [row["bias"], row["var"], row["risk"]], rtol=1e-10
        )
        if row["optimal"]:
            best = optimal_ridge(row["gamma"], data["r2"], data["s2"])
            assert float(best) == pytest.approx(row["lam"], rel=1e-15)


@pytest.mark.parametrize("sigma", [0.2, 1.0])
def test_optimal_ridge_against_examples_is_golden(sigma):
    data = golden("double_descent_closed_form.json")
    for row in data["rows"]:
        gamma = data["d"] / row["n"]
        best = optimal_ridge(gamma, 1.0, sigma**2)
        risk = ridge_isotropic(gamma, best, 1.0, sigma**2)
        want = row[f"ridge_opt_sigma{sigma}"]
        assert float(risk.total) == pytest.approx(want, rel=1e-12)


def test_misspecified_is_golden():
    data = golden("hastie_misspecified.json")
    for row in data["rows"]:
        risk = ridge_misspecified(row["gamma"], 0.0, data["r2"], data["s2"], row["a"])
        bias = row["bias"] + row["missing"]
        got = [float(part) for part in risk]
        np.testing.assert_allclose(got, [bias, row["var"], row["risk"]], rtol=1e-12)


def test_golden_ratio():
    risk = ridge_isotropic(1.0, 1.0, 1.0, 1.0)
    assert float(risk.total) == pytest.approx((np.sqrt(5) - 1) / 2, rel=1e-15)


@pytest.mark.parametrize("gamma", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("ridge", [0.05, 1.5])
def test_bias_and_variance_are_integrals_over_the_spectrum(gamma, ridge):
    # s is smooth and periodic in the angle: the midpoint rule is exact to round-off.
    angle = (np.arange(4000) + 0.5) * np.pi / 4000
    s = 1 + gamma - 2 * np.sqrt(gamma) * np.cos(angle)
    mass = 2 / 4000 * np.sin(angle) ** 2 / s
    bias = np.sum(mass * (ridge / (s + ridge)) ** 2) + max(1 - 1 / gamma, 0)
    variance = gamma * np.sum(mass * s / (s + ridge) ** 2)
    risk = ridge_isotropic(gamma, ridge, 1.7, 0.6)
    assert float(risk.bias) == pytest.approx(1.7 * bias, rel=1e-13)
    assert float(risk.variance) == pytest.approx(0.6 * variance, rel=1e-13)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_risk_is_the_mean_of_real_fits(gamma):
    n, trials, ridge, signal, noise = 120, 60, 0.3, 2.0, 0.5
    p = int(gamma * n)
    rng = np.random.default_rng(p)
    beta = rng.normal(size=p)
    beta *= np.sqrt(signal) / np.linalg.norm(beta)
    x = rng.normal(size=(trials, n, p))
    y = x @ beta + np.sqrt(noise) * rng.normal(size=(trials, n))
    gram = x.swapaxes(1, 2) @ x / n + ridge * np.eye(p)
    fit = np.linalg.solve(gram, (x.swapaxes(1, 2) @ y[:, :, None]) / n)
    risks = np.sum((fit[:, :, 0] - beta) ** 2, 1)
    error = abs(
        risks.mean() - float(ridge_isotropic(gamma, ridge, signal, noise).total)
    )
    assert error < 5 * risks.std() / np.sqrt(trials)


@pytest.mark.parametrize("gamma", [1e-3, 0.7, 0.999999, 1.000001, 4.0])
def test_without_a_ridge_it_is_ridgeless(gamma):
    got, want = (
        ridge_isotropic(gamma, 0, 1.7, 0.6),
        ridgeless_isotropic(gamma, 1.7, 0.6),
    )
    np.testing.assert_allclose(np.array(got), np.array(want), rtol=1e-9, atol=1e-15)


def test_threshold_without_a_ridge():
    risk = ridge_isotropic(1.0, 0.0, 1.0, 0.5)
    assert float(risk.bias) == 0
    assert np.isposinf(risk.total)
    assert float(ridge_isotropic(1.0, 0.0, 1.0, 0.0).total) == 0
    assert np.isposinf(ridge_misspecified(1.0, 0.0, 1.0, 0.0, a=2.0).variance)


def test_tiny_and_huge_ridges_keep_their_digits():
    # bias -> ridge^2 / (1 - gamma)^3 and variance -> gamma / ridge^2.
    small = ridge_isotropic(0.5, 1e-12, 1.0, 1.0)
    assert float(small.bias) == pytest.approx(8e-24, rel=1e-10, abs=0)
    large = ridge_isotropic(0.5, 1e12, 1.0, 1.0)
    assert float(large.variance) == pytest.approx(0.5e-24, rel=1e-10, abs=0)
    assert float(large.bias) == pytest.approx(1.0, rel=1e-10)


@pytest.mark.parametrize("gamma", [0.4, 1.0, 1.8, 6.0])
def test_the_slope_is_zero_at_the_optimal_ridge(gamma):
    with jax.enable_x64(True):
        best = optimal_ridge(gamma, 1.7, 0.6)

        def risk(ridge):
            return ridge_isotropic(gamma, ridge, 1.7, 0.6).total

        assert abs(float(jax.grad(risk)(best))) < 1e-14
        assert float(jax.grad(jax.grad(risk))(best)) > 0


def test_optimal_ridge_removes_the_peak():
    gammas = np.linspace(0.05, 5, 200)
    risk = jax.vmap(
        lambda gamma: ridge_isotropic(gamma, optimal_ridge(gamma, 1.7, 0.6), 1.7, 0.6)
    )(gammas)
    assert np.all(np.diff(np.asarray(risk.total)) > 0)
    fixed = jax.vmap(lambda gamma: ridge_isotropic(gamma, 1e-3, 1.7, 0.6).total)(gammas)
    assert 0.9 < gammas[np.argmax(np.asarray(fixed))] < 1.1


def test_misspecified_without_decay_learns_nothing_and_in_the_end_everything():
    nothing = ridge_misspecified(0.5, 0.3, 1.7, 0.6, a=0.0)
    noise_only = ridge_isotropic(0.5, 0.3, 0.0, 0.6 + 1.7)
    assert float(nothing.total) == pytest.approx(float(noise_only.total) + 1.7)
    everything = ridge_misspecified(0.5, 0.3, 1.7, 0.6, a=200.0)
    np.testing.assert_allclose(
        np.array(everything), np.array(ridge_isotropic(0.5, 0.3, 1.7, 0.6)), rtol=1e-12
    )


@pytest.mark.parametrize(("a", "second_is_lower"), [(2.0, True), (5.0, False)])
def test_the_second_descent_goes_lower_unless_few_features_tell_all(a, second_is_lower):
    gammas = np.geomspace(0.01, 100, 401)
    risk = jax.vmap(lambda gamma: ridge_misspecified(gamma, 0.0, 1.0, 0.05, a).total)
    risks = np.asarray(risk(gammas))
    first, second = risks[gammas < 0.99], risks[gammas > 1.01]
    assert 0 < np.argmin(second) < second.size - 1
    assert (second.min() < first.min()) == second_is_lower


@pytest.mark.parametrize("point", [(2.0, 1.0), (0.5, 0.2), (3.0, 0.4), (3.0, 0.0)])
def test_derivatives_are_those_of_finite_differences(point):
    # gamma = 1 + ridge, where the formula changes its form, is among the points.
    def risk(gamma, ridge, a):
        return ridge_misspecified(gamma, ridge, 1.7, 0.6, a).total

    with jax.enable_x64(True):
        got = np.array(jax.grad(risk, (0, 1, 2))(*point, 1.3))
        at, h = np.array([*point, 1.3]), 1e-5
        sides = (-1, 1) if point[1] else (0, 1, 2)
        weights = np.array([-0.5, 0.5]) if point[1] else np.array([-1.5, 2.0, -0.5])
        values = [
            [float(risk(*(at + h * k * unit))) for k in sides] for unit in np.eye(3)
        ]
    np.testing.assert_allclose(got, np.array(values) @ weights / h, rtol=1e-6)


def test_vmap_equals_a_loop():
    ridges = np.array([0.0, 0.1, 2.0])
    plain = jax.vmap(lambda ridge: ridge_isotropic(1.7, ridge, 1.1, 0.6).total)(ridges)
    part = jax.vmap(lambda ridge: ridge_misspecified(1.7, ridge, 1.1, 0.6, 2.0).total)(
        ridges
    )
    best = jax.vmap(lambda noise: optimal_ridge(1.7, 1.1, noise))(ridges)
    loop = [ridge_isotropic(1.7, r, 1.1, 0.6).total for r in ridges.tolist()]
    np.testing.assert_allclose(plain, np.array(loop), rtol=1e-14)
    loop = [ridge_misspecified(1.7, r, 1.1, 0.6, 2.0).total for r in ridges.tolist()]
    np.testing.assert_allclose(part, np.array(loop), rtol=1e-14)
    np.testing.assert_allclose(best, 1.7 * ridges / 1.1, rtol=1e-14)


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (ridge_isotropic, (-1, 1.0, 1.0, 1.0), "gamma must be"),
        (
            ridge_isotropic,
            (1, -0.1, 1.0, 1.0),
            r"ridge must be in \[0, inf\), got -0.1",
        ),
        (ridge_isotropic, (1, np.inf, 1.0, 1.0), "ridge must be"),
        (ridge_isotropic, (1, 1.0, -1.0, 1.0), "signal must be"),
        (ridge_isotropic, (1, 1.0, 1.0, -1.0), "noise must be"),
        (ridge_isotropic, (1, np.ones((1, 2)), 1.0, 1.0), r"ridge .* got .* \(1, 2\)"),
        (optimal_ridge, (0.0, 1.0, 1.0), "gamma must be"),
        (optimal_ridge, (1.0, 0.0, 1.0), r"signal must be in \(0, inf\)"),
        (optimal_ridge, (1.0, 1.0, -1.0), "noise must be"),
        (ridge_misspecified, (1.0, 1.0, 1.0, 1.0, -1.0), "a must be"),
        (ridge_misspecified, (0.0, 1.0, 1.0, 1.0, 1.0), "gamma must be"),
    ],
)
def test_errors(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        function(*arguments)
