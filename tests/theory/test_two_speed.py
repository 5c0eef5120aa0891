import jax
import numpy as np
import pytest

from jaxdl.theory import two_speed

SCALES, COEFFICIENTS = np.array([1.0, 0.15]), 0.3 * np.array([1.5, 10.0])
SAME, ALIGNED = np.array([0.1, 0.1]), np.array([0.1, 4.3])
STEPS = np.arange(2000)


def curve(learning_rates):
    def total(t):
        return two_speed(t, SCALES, COEFFICIENTS, learning_rates, 10, 1.0).total

    return np.asarray(jax.vmap(total)(STEPS))


def turning_points(risk):
    slope = np.sign(np.diff(risk))
    turns = 1 + np.flatnonzero(slope[1:] != slope[:-1])
    return [(int(t), "min" if slope[t] > 0 else "max") for t in turns]


def test_the_published_setting_has_two_minima():
    # The second minimum is flat: the risk at step 486 is the same to 4 digits.
    risk = curve(SAME)
    assert turning_points(risk) == [(12, "min"), (30, "max"), (491, "min")]
    assert risk[486] == pytest.approx(risk[491], rel=1e-4)
    assert risk[491] < risk[12]


def test_aligned_learning_rates_leave_one_lower_minimum():
    risk = curve(ALIGNED)
    assert turning_points(risk[:200]) == [(11, "min")]
    assert round(float(risk[11]), 4) == 0.1340
    assert risk[11] < curve(SAME).min()


def test_exact_for_gradient_descent_on_orthogonal_features():
    # E over the noise from its covariance: each step is linear in (beta, noise).
    n, d, noise, steps = 12, 3, 0.7, 9
    rng = np.random.default_rng(0)
    scales, beta = np.array([1.0, 0.5, 1.5]), rng.normal(size=d)
    rates = np.array([0.3, 1.1, 0.6])  # 1 - 0.6 1.5^2 < 0
    x = np.linalg.qr(rng.normal(size=(n, d)))[0] * np.sqrt(n) * scales
    from_signal, from_noise = np.zeros(d), np.zeros((d, n))
    for _ in range(steps):
        from_signal = from_signal + rates * (x.T @ (x @ (beta - from_signal))) / n
        from_noise = from_noise + rates[:, None] * (
            x.T @ (np.eye(n) - x @ from_noise) / n
        )
    bias = np.sum(scales**2 * (from_signal - beta) ** 2)
    variance = noise * np.sum(scales[:, None] ** 2 * from_noise**2)
    risk = two_speed(steps, scales, beta, rates, n, noise)
    np.testing.assert_allclose(
        np.array(risk), [bias, variance, bias + variance], rtol=1e-12
    )


def test_first_and_last_step():
    start = two_speed(0, SCALES, COEFFICIENTS, SAME, 10, 2.0)
    assert float(start.total) == pytest.approx(2 * 0.2025)
    end = two_speed(1e6, SCALES, COEFFICIENTS, SAME, 10, 2.0)
    assert float(end.total) == pytest.approx(2 * 0.2)


def test_vmap_equals_a_loop_and_derivative():
    t = np.array([0.0, 3.0, 40.0])

    def risk(t):
        return two_speed(t, SCALES, COEFFICIENTS, SAME, 10, 1.0)

    got = np.array(jax.vmap(risk)(t))
    loop = np.array([risk(s) for s in t.tolist()])
    np.testing.assert_allclose(got, loop.T, rtol=1e-13)
    with jax.enable_x64(True):
        slope = jax.grad(lambda t: risk(t).total)
        assert float(slope(11.0)) < 0 < float(slope(13.0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"t": -1}, r"t must be in \[0, inf\), got -1"),
        ({"scales": np.ones((2, 1))}, r"scales .* \(any,\)"),
        ({"coefficients": np.ones(3)}, r"coefficients .* \(2,\), got float64 \(3,\)"),
        ({"learning_rates": 0.1}, r"learning_rates .* \(2,\)"),
        ({"n": 0}, "n must be"),
        ({"noise": -1.0}, "noise must be"),
    ],
)
def test_errors(change, message):
    good = {
        "t": 1,
        "scales": SCALES,
        "coefficients": COEFFICIENTS,
        "learning_rates": SAME,
        "n": 10,
        "noise": 1.0,
    }
    with pytest.raises(ValueError, match=message):
        two_speed(**(good | change))
