"""Every symptom on a curve made to have it, and on a training broken on purpose."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import losses, nn
from jaxdl.curvature import from_matrix
from jaxdl.diagnostics import (
    PROBLEMS,
    activation_statistics,
    check_gradient,
    diagnose,
    operator_conditioning,
    path,
)
from jaxdl.models import mlp

N = 200
T = np.arange(N) / N
NOISE = np.random.default_rng(1).normal(size=N)
HEALTHY = np.exp(-8 * T)
KEY = jax.random.key(0)


def problems(loss, **evidence):
    return [symptom.problem for symptom in diagnose(loss, **evidence)]


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (HEALTHY, []),
        (HEALTHY + 0.03 * NOISE, []),
        ((1 + np.arange(N)) ** -0.5, []),
        (np.exp(-30 * T), []),
        (1 - T, ["slow progress"]),
        (5 - 1e-3 * T + 2e-5 * NOISE, ["slow progress"]),
        (np.exp(5 * T), ["instability"]),
        (HEALTHY + np.maximum(T - 0.6, 0) * 3, ["instability"]),
        (np.where(T < 0.8, HEALTHY, np.nan), ["instability"]),
        (np.where(T < 0.01, HEALTHY, np.inf), ["instability"]),
        (HEALTHY + 0.1 * (-1.0) ** np.arange(N), ["oscillations"]),
        (HEALTHY + 0.1 * np.cos(np.arange(N) * 0.9) + 0.01 * NOISE, ["oscillations"]),
        (HEALTHY + 0.001 * (-1.0) ** np.arange(N), []),
        (HEALTHY + 0.2 * NOISE, ["fluctuations"]),
        (np.ones(N), ["plateau"]),
        (NOISE, ["fluctuations", "plateau"]),
        (1 / (1 + np.exp(60 * (T - 0.6))), ["plateau"]),
        (np.where(T < 0.5, 0.3 + HEALTHY, 0.1 + 0.2 * np.exp(-40 * (T - 0.5))), []),
    ],
)
@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (1e-4, 3.0), (1e5, -1e4)])
def test_curves(loss, expected, scale, shift):
    assert problems(scale * loss + shift) == expected


def test_healthy_runs_under_noise_have_no_symptom():
    """Two thousand of them, at most one in a hundred suspected."""
    suspected = 0
    for seed in range(500):
        noise = np.random.default_rng(seed).normal(size=N)
        for rate in (3, 5, 10, 30):
            suspected += bool(problems(np.exp(-rate * T) + 0.05 * noise))
    assert suspected <= 20


def test_symptoms_carry_their_numbers_and_remedies():
    (found,) = diagnose(HEALTHY + 0.2 * NOISE)
    assert "average the iterates" in found.remedy
    assert f"{found.evidence['noise']:.2f}" in found.symptom
    np.testing.assert_allclose(found.evidence["noise"], 0.2 / 1.2, atol=0.05)
    (found,) = diagnose(np.where(np.arange(N) < 80, HEALTHY, np.nan))
    assert found.evidence == {"record": 80}
    assert "record 80" in found.symptom


def test_the_gravest_comes_first():
    loss = np.where(T < 0.8, HEALTHY, np.nan)
    found = problems(loss, condition_number=1e9, update_cosines=-np.ones(5))
    assert found == ["instability", "oscillations", "ill-conditioning"]
    assert sorted(found, key=PROBLEMS.index) == found
    norms = np.where(np.arange(50) == 30, 1e3, 1.0)
    assert problems(np.ones(N), gradient_norms=norms) == ["instability", "plateau"]


def test_gradient_norms():
    norms = HEALTHY * 1e3 * np.exp(0.5 * NOISE)
    assert problems(HEALTHY, gradient_norms=norms) == []
    norms[150] *= 1e4
    (found,) = diagnose(HEALTHY, gradient_norms=norms)
    assert found.problem == "instability"
    assert found.evidence["number"] == 150
    norms[60] = np.nan
    (found,) = diagnose(HEALTHY, gradient_norms=norms)
    assert "not finite: number 60" in found.symptom
    assert problems(HEALTHY, gradient_norms=np.zeros(20)) == []
    assert problems(HEALTHY, gradient_norms=np.ones(3)) == []


def test_cosines_of_the_second_half():
    cosines = np.r_[np.full(50, -1.0), np.full(50, 0.5)]
    assert problems(HEALTHY, update_cosines=cosines) == []
    assert problems(HEALTHY, update_cosines=cosines[::-1]) == ["oscillations"]
    assert problems(HEALTHY, update_cosines=np.full(9, np.nan)) == []


def test_a_condition_number_against_the_steps_done():
    enough = N * 2 / math.log(10)
    assert problems(HEALTHY, condition_number=0.9 * enough) == []
    assert problems(HEALTHY, condition_number=1.1 * enough) == ["ill-conditioning"]
    assert problems(HEALTHY, condition_number=1.1 * enough, steps=10 * N) == []
    assert problems(HEALTHY, condition_number=math.inf) == []


def test_overfitting():
    rising = HEALTHY + np.maximum(T - 0.5, 0) + 0.01 * NOISE
    (found,) = diagnose(HEALTHY, validation=rising)
    assert found.problem == "overfitting"
    assert 90 <= found.evidence["lowest"] <= 125
    gap = 1 + HEALTHY + 0.01 * NOISE
    assert problems(HEALTHY, validation=gap) == []
    assert problems(rising, validation=rising) == ["instability"]


def descend(curvatures, rate, momentum=0.0, noise=0.0, steps=N):
    """Losses and points of gradient descent on a quadratic, in NumPy."""
    rng = np.random.default_rng(0)
    w, velocity = np.ones(len(curvatures)), 0.0
    loss, points = [], []
    for _ in range(steps):
        loss.append(np.sum(curvatures * w**2) / 2)
        points.append(w)
        gradient = curvatures * w + noise * rng.normal(size=w.shape)
        velocity = momentum * velocity - rate * gradient
        w = w + velocity
    return np.array(loss), np.array(points)


QUADRATIC = np.array([10.0, 5.0, 1.0])


def test_quadratics_descended_well_and_badly():
    def found(curvatures=QUADRATIC, **settings):
        loss, points = descend(curvatures, **settings)
        cosines = path(points).cosines
        return problems(loss, update_cosines=cosines, condition_number=10.0)

    assert found(rate=0.05) == []
    assert found(rate=0.05, noise=0.2) == []
    assert found(rate=0.0002) == ["slow progress"]
    assert found(rate=0.21) == ["instability", "oscillations"]
    assert found(rate=0.199) == ["oscillations"]
    assert found(rate=0.1, momentum=0.98) == ["oscillations"]
    assert "fluctuations" in found(rate=0.1, noise=6.0)


def test_a_ravine():
    spectrum = np.array([1.0, 1e-4])
    loss, _ = descend(spectrum, 1.0)
    with jax.enable_x64(True):
        kappa = operator_conditioning(from_matrix(np.diag(spectrum)), KEY).value
    assert problems(loss, condition_number=float(kappa)) == ["ill-conditioning"]


RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 5)).astype(np.float32)
Y = np.sin(X @ RNG.normal(size=(5, 1))).astype(np.float32)


@jax.jit(static_argnums=0)
def _train(activation, params, rate):
    """Full-batch gradient descent, 300 steps; no library behind it."""

    def loss(params):
        def model(x):
            return mlp.apply(params, x, activation=activation)

        return jnp.mean(jax.vmap(losses.squared_error)(jax.vmap(model)(X), Y))

    def step(params, _):
        value, gradient = jax.value_and_grad(loss)(params)
        params = jax.tree.map(lambda p, g: p - rate * g, params, gradient)
        return params, (value, gradient)

    params, (values, gradients) = jax.lax.scan(step, params, None, length=300)
    return params, values, jax.vmap(lambda g: jnp.sqrt(losses.l2_penalty(g)))(gradients)


def train(params, rate, activation=jnp.tanh, bounds=(-1, 1)):
    """The problems of a small network's training."""
    params, values, norms = _train(activation, params, rate)

    def units(x):
        return mlp.apply_with_activations(params, x, activation=activation)[1]

    activations = jax.vmap(units)(X)
    return problems(
        values,
        gradient_norms=norms,
        activations=activation_statistics(activations, bounds=bounds),
    )


def network(scale=1.0, **settings):
    params = mlp.init(KEY, (5, 16, 16, 1), initializer=nn.xavier_normal, **settings)
    return jax.tree.map(lambda leaf: scale * leaf, params)


def test_networks_trained_well_and_badly():
    assert train(network(), 0.2) == []
    assert train(network(), 1e-4) == ["slow progress"]
    assert train(network(), 1.0) == ["oscillations"]  # at the edge of stability
    assert set(train(network(), 30.0)) >= {"instability"}
    assert "saturated units" in train(network(20.0), 1e-3)
    assert train(network(0.0, use_bias=False), 0.2) == ["plateau", "dead units"]
    identical = jax.tree.map(lambda leaf: jnp.full_like(leaf, 0.1), network())
    assert "symmetries" in train(identical, 0.05)


def test_dead_relus():
    params = network()
    dead = (params[0]._replace(bias=params[0].bias - 50), *params[1:])
    found = train(dead, 0.1, activation=jax.nn.relu, bounds=None)
    assert "dead units" in found
    healthy = train(params, 0.1, activation=jax.nn.relu, bounds=None)
    assert healthy == []


def test_a_wrong_gradient():
    def loss(w):
        return jnp.sum(w["a"] ** 2) + jnp.sum(jnp.cos(w["b"]))

    def wrong(w):
        return {"a": 2 * w["a"], "b": jnp.sin(w["b"])}

    params = {"a": RNG.normal(size=3), "b": RNG.normal(size=2)}
    right = check_gradient(loss, params, key=KEY)
    assert problems(HEALTHY, gradient_check=right) == []
    (found,) = diagnose(
        HEALTHY, gradient_check=check_gradient(loss, params, key=KEY, gradient=wrong)
    )
    assert found.problem == "incorrect gradients"
    assert "params['b']" in found.symptom
    np.testing.assert_allclose(found.evidence["relative_error"], 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loss": HEALTHY[:40]}, "loss must be a real vector of 50"),
        ({"validation": HEALTHY[:40]}, "validation must be a real vector of 50"),
        ({"validation": HEALTHY[:60]}, "validation must have one value a record, 200"),
        ({"gradient_norms": np.ones((2, 3))}, "gradient_norms must be a vector"),
        ({"update_cosines": 1.0}, "update_cosines must be a vector"),
        ({"condition_number": 0.5}, "condition_number must be >= 1, got 0.5"),
        ({"condition_number": math.nan}, "condition_number must be >= 1, got nan"),
        ({"steps": 0}, "steps must be a positive integer, got 0"),
    ],
)
def test_wrong_calls_say_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        diagnose(**({"loss": HEALTHY} | arguments))


def test_a_loss_that_leaps_and_stays_is_unstable():
    loss = np.r_[2.3, np.full(99, 40.0)]
    (found,) = diagnose(loss)
    assert found.problem == "instability"
    assert found.symptom == "the loss ends above where it began"
