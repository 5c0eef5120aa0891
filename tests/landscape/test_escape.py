import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.landscape import escape_growth, escape_time, measure_escape
from jaxdl.optim import momentum, sgd
from jaxdl.theory import linear_network_point

TARGET = np.array([[2.0, 0.0], [0.0, 0.5]])


def loss(weights):
    first, last = weights
    product = jnp.matmul(last, first, precision="highest")
    return jnp.sum((TARGET - product) ** 2) / 2


@pytest.mark.parametrize("beta", [0.0, 0.3, 0.9])
def test_growth_against_the_companion_matrix(beta):
    eta, curvature = 0.07, -0.8
    step = np.array([[1 + beta - eta * curvature, -beta], [1, 0]])
    want = np.max(np.abs(np.linalg.eigvals(step)))
    got = escape_growth(eta, curvature, beta)
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_growth_and_time_map_over_arrays():
    rates = jnp.array([0.01, 0.1])
    got = escape_growth(rates, -2.0)
    np.testing.assert_allclose(got, [1.02, 1.2], rtol=1e-6)
    noise = jnp.array([1e-3, 1e-6])
    np.testing.assert_allclose(
        escape_time(noise, got, 0.5),
        np.log(0.5 / np.asarray(noise)) / np.log([1.02, 1.2]),
        rtol=1e-4,
    )


@pytest.mark.parametrize("beta", [0.0, 0.6])
def test_a_linear_network_leaves_its_first_saddle(beta):
    """The saddle that has learned mode 1 of 0, 1: eigenvalue -2 on the dead path."""
    eta = 0.02
    with jax.enable_x64(True):
        saddle = tuple(map(jnp.asarray, linear_network_point(TARGET, [2], [1])))
        # W1 += v_0 in the dead unit, W2 += u_0: curvature -s_0.
        direction = (
            jnp.zeros((2, 2)).at[1, 0].set(1),
            jnp.zeros((2, 2)).at[0, 1].set(1),
        )
        optimizer = momentum(eta, beta) if beta else sgd(eta)
        signs = np.sign(np.asarray(saddle[0])[0, 1] * np.asarray(saddle[1])[1, 0])
        assert signs > 0
        run = jax.jit(
            lambda noise: measure_escape(
                loss, saddle, direction, optimizer, 900, noise=noise, radius=0.5
            )
        )
        growth = float(escape_growth(eta, -2.0, beta))
        steps = []
        for noise in (1e-9, 1e-5):
            escape = run(noise)
            assert float(escape.growth) == pytest.approx(growth, rel=1e-3)
            want = float(escape_time(noise, growth, 0.5))
            # The heavy ball starts with no velocity: later by a few steps.
            assert want - 3 < int(escape.steps) < want + 6 / (1 - beta)
            steps.append(int(escape.steps))
        law = float(escape_time(1e-9, growth) - escape_time(1e-5, growth))
        assert steps[0] - steps[1] == pytest.approx(law, abs=2)


def test_a_start_at_the_saddle_itself_stays():
    run = measure_escape(
        loss, (jnp.zeros((2, 2)),) * 2, (jnp.eye(2),) * 2, sgd(0.01), 3, noise=1e-30
    )
    assert run.steps == -1
    assert np.isnan(run.growth)
    assert run.distances.shape == run.losses.shape == (4,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: escape_growth(0, -1.0), "learning_rate must be > 0, got 0"),
        (lambda: escape_growth(0.1, -1.0, 1.0), "momentum must be in"),
        (lambda: escape_time(0.0, 1.1), "noise must be > 0"),
        (lambda: escape_time(0.1, 1.1, -1), "radius must be > 0"),
        (lambda: escape_time(0.1, 0), "growth must be > 0"),
        (lambda: measure_escape(loss, 0, 0, sgd(0.1), 0), "steps must be"),
        (lambda: measure_escape(loss, 0, 0, sgd(0.1), 1, noise=0), "noise must be"),
    ],
)
def test_rejects(call, message):
    with pytest.raises(ValueError, match=message):
        call()
