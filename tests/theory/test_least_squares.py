import json
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxdl.theory import noise_lower_bound, ridgeless_exact, ridgeless_isotropic

GOLDEN = Path(__file__).parent.parent / "golden"


def golden(name):
    return json.loads((GOLDEN / name).read_text())


def test_ridgeless_limit_is_golden():
    data = golden("hastie_isotropic_ridgeless.json")
    for row in data["rows"]:
        risk = ridgeless_isotropic(row["gamma"], data["r2"], data["s2"])
        got, want = (float(risk.bias), float(risk.variance)), (row["bias"], row["var"])
        np.testing.assert_allclose(got, want, rtol=1e-12)


def test_ridgeless_limit_by_hand():
    assert [float(part) for part in ridgeless_isotropic(0.75, 7.0, 2.0)] == [0, 6, 6]
    assert [float(part) for part in ridgeless_isotropic(4.0, 8.0, 3.0)] == [6, 1, 7]


def test_infinite_at_the_threshold_unless_there_is_no_noise():
    for risk in (ridgeless_isotropic(1, 2.0, 0.1), ridgeless_exact(9, 9, 2, 0, 0.1)):
        assert float(risk.bias) == 0
        assert np.isposinf(risk.variance)
        assert np.isposinf(risk.total)
    for risk in (ridgeless_isotropic(1, 2.0, 0.0), ridgeless_exact(9, 9, 2, 0, 0)):
        assert float(risk.total) == 0
    for p in (8, 10):
        assert np.isposinf(ridgeless_exact(9, p, 2.0, 0.1, 0.0).total)
    assert float(ridgeless_exact(9, 10, 2.0, 0.0, 0.0).total) == pytest.approx(0.2)


def test_exact_risk_is_golden():
    data = golden("belkin_hsu_xu_exact.json")
    for row in data["rows"]:
        used = row["p"] / data["D"]
        risk = ridgeless_exact(data["n"], row["p"], used, 1 - used, data["s2"])
        assert float(risk.total) == pytest.approx(row["exact"], rel=1e-12)
        assert float(risk.total) == float(risk.bias + risk.variance)


@pytest.mark.parametrize("sigma", [0.0, 0.2, 1.0])
def test_exact_risk_against_examples_is_golden(sigma):
    data = golden("double_descent_closed_form.json")
    for row in data["rows"]:
        risk = ridgeless_exact(row["n"], data["d"], 1.0, 0.0, sigma**2)
        want = row[f"ridgeless_sigma{sigma}"]
        assert float(risk.total) == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize("p", [4, 18])
def test_exact_risk_is_the_mean_of_real_fits(p):
    n, features, noise, trials = 10, 20, 0.3, 4000
    rng = np.random.default_rng(p)
    beta = rng.normal(size=features)
    x = rng.normal(size=(trials, n, features))
    y = x @ beta + np.sqrt(noise) * rng.normal(size=(trials, n))
    fit = np.linalg.pinv(x[:, :, :p]) @ y[:, :, None]
    risks = np.sum((fit[:, :, 0] - beta[:p]) ** 2, 1) + np.sum(beta[p:] ** 2)
    exact = ridgeless_exact(n, p, np.sum(beta[:p] ** 2), np.sum(beta[p:] ** 2), noise)
    error = abs(risks.mean() - float(exact.total))
    assert error < 5 * risks.std() / np.sqrt(trials)


def test_no_feature_predicts_zero():
    assert float(ridgeless_exact(1, 0, 0.0, 3.0, 0.5).total) == 3.0


def test_exact_risk_tends_to_the_limit():
    for gamma in (0.4, 2.5):
        exact = ridgeless_exact(10**9, gamma * 10**9, 1.5, 0.0, 0.7)
        limit = ridgeless_isotropic(gamma, 1.5, 0.7)
        np.testing.assert_allclose(np.array(exact), np.array(limit), rtol=1e-7)


@pytest.mark.parametrize(
    ("n", "p", "bound"), [(9, 3, 3 / 7), (9, 9, 9.0), (9, 15, 9 / 7)]
)
def test_noise_lower_bound_by_hand(n, p, bound):
    assert float(noise_lower_bound(n, p)) == pytest.approx(bound, rel=1e-15)


def test_gaussian_features_keep_the_noise_lower_bound():
    for p in range(1, 40):
        variance = ridgeless_exact(20, p, 1.0, 0.0, 0.5).variance
        assert float(variance) > 0.5 * float(noise_lower_bound(20, p))


def test_vmap_equals_a_loop():
    gammas, sizes = np.array([0.3, 0.9, 1.0, 3.0]), np.array([0, 3, 9, 10, 30])
    limit = jax.vmap(lambda gamma: ridgeless_isotropic(gamma, 1.5, 0.7))(gammas)
    exact = jax.vmap(lambda p: ridgeless_exact(9, p, 1.5, 0.2, 0.7))(sizes)
    bound = jax.vmap(lambda p: noise_lower_bound(9, p))(sizes[1:])
    loop = [ridgeless_isotropic(float(gamma), 1.5, 0.7).total for gamma in gammas]
    np.testing.assert_array_equal(limit.total, np.array(loop))
    loop = [ridgeless_exact(9, int(p), 1.5, 0.2, 0.7).total for p in sizes]
    np.testing.assert_array_equal(exact.total, np.array(loop))
    loop = [noise_lower_bound(9, int(p)) for p in sizes[1:]]
    np.testing.assert_array_equal(bound, np.array(loop))


def test_derivatives():
    with jax.enable_x64(True):
        for gamma in (0.5, 3.0):
            risk = jax.jacfwd(ridgeless_isotropic, (0, 1, 2))(gamma, 1.5, 0.7)
            unseen = max(1 - 1 / gamma, 0)
            factor = min(gamma, 1) / abs(1 - gamma)
            slope = 0.7 / (1 - gamma) ** 2 * (1 if gamma < 1 else -1)
            slope += 1.5 / gamma**2 if gamma > 1 else 0
            np.testing.assert_allclose(risk.total, [slope, unseen, factor], rtol=1e-14)
        slope = jax.grad(lambda s: ridgeless_exact(9, 20, 1.0, 0.5, s).total)(0.0)
        assert float(slope) == pytest.approx(0.9, rel=1e-14)


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (ridgeless_isotropic, (0, 1.0, 1.0), r"gamma must be in \(0, inf\), got 0"),
        (ridgeless_isotropic, (np.nan, 1.0, 1.0), "gamma must be"),
        (ridgeless_isotropic, (1.0, -1.0, 1.0), r"signal must be in \[0, inf\)"),
        (ridgeless_isotropic, (1.0, 1.0, -1.0), "noise must be"),
        (ridgeless_isotropic, (np.ones(2), 1.0, 1.0), r"gamma .* shape \(\), got"),
        (ridgeless_isotropic, (1.0, np.array(1j), 1.0), "signal .* real .* complex"),
        (ridgeless_exact, (0, 1, 1.0, 1.0, 1.0), "n must be in the integers >= 1"),
        (ridgeless_exact, (9, -1, 1.0, 1.0, 1.0), "p must be in the integers >= 0"),
        (ridgeless_exact, (9, 1.5, 1.0, 1.0, 1.0), "p must be in the integers >= 0"),
        (ridgeless_exact, (9, 1, -1.0, 1.0, 1.0), "signal_in must be"),
        (ridgeless_exact, (9, 1, 1.0, -1.0, 1.0), "signal_out must be"),
        (ridgeless_exact, (9, 1, 1.0, 1.0, np.inf), "noise must be"),
        (noise_lower_bound, (0, 1), "n must be in the integers >= 1"),
        (noise_lower_bound, (9, 0), "p must be in the integers >= 1"),
    ],
)
def test_errors(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        function(*arguments)
