import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import optim
from tests.optim.trajectories import GOLDEN, descend, run

RNG = np.random.default_rng(0)
G = RNG.normal(size=(20, 4)).astype(np.float32)
THETA = np.arange(4, dtype=np.float32)


def test_sign_descent():
    gradient = jnp.array([-3.0, 0.0, 1e-9, jnp.nan])
    (step,) = run(optim.sign_sgd(0.25), [gradient], gradient)
    np.testing.assert_array_equal(step, [0.25, 0.0, -0.25, np.nan])


def test_lion_matches_optax():
    settings = {"b1": 0.3, "b2": 0.6, "weight_decay": 0.2}
    ours = run(optim.lion(0.1, **settings), G, THETA)
    theirs = run(optax.lion(0.1, **settings), G, THETA)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_lion_by_hand():
    mu, b1, b2 = np.zeros(4), 0.8, 0.4
    for g, got in zip(G, run(optim.scale_by_lion(b1, b2), G, THETA), strict=True):
        np.testing.assert_array_equal(got, np.sign(b1 * mu + (1 - b1) * g))
        mu = b2 * mu + (1 - b2) * g


def test_trajectories_by_hand():
    rate, b1, b2, decay = 0.05, 0.8, 0.4, 0.3
    lion = signs = GOLDEN["theta0"]
    mu, lions, sign_path = np.zeros(4), [lion], [signs]
    for _ in range(20):
        g = GOLDEN["H"] @ (lion - GOLDEN["theta_star"])
        direction = np.sign(b1 * mu + (1 - b1) * g) + decay * lion
        mu, lion = b2 * mu + (1 - b2) * g, lion - rate * direction
        g = GOLDEN["H"] @ (signs - GOLDEN["theta_star"])
        signs = signs - rate * np.sign(g)
        lions.append(lion)
        sign_path.append(signs)
    got = descend(optim.lion(rate, b1, b2, weight_decay=decay))
    np.testing.assert_allclose(got, lions, rtol=0, atol=1e-10)
    got = descend(optim.sign_sgd(rate))
    np.testing.assert_allclose(got, sign_path, rtol=0, atol=1e-10)


def test_decay_leaves_out_what_the_mask_says():
    params = {"w": jnp.ones(2), "b": jnp.ones(2)}
    zeros = jax.tree.map(jnp.zeros_like, params)
    (step,) = run(
        optim.lion(0.5, weight_decay=0.1, mask={"w": True, "b": False}),
        [zeros],
        params,
    )
    np.testing.assert_allclose(step["w"], -0.05 * np.ones(2), rtol=1e-6)
    np.testing.assert_array_equal(step["b"], np.zeros(2))


def test_vmap_over_every_hyperparameter_equals_a_loop():
    def updates(rate, b1, b2, weight_decay):
        transform = optim.lion(rate, b1, b2, weight_decay=weight_decay)
        return jnp.stack(run(transform, G, THETA))

    settings = np.float32([[0.1, 0.3], [0.0, 0.9], [0.3, 0.99], [0.0, 0.5]])
    loop = [updates(*(float(x) for x in member)) for member in settings.T]
    np.testing.assert_allclose(jax.vmap(updates)(*settings), loop, rtol=1e-5)


def test_dtypes_are_kept():
    gradient = jnp.ones(3, jnp.bfloat16)
    transform = optim.scale_by_lion(mu_dtype=jnp.float32)
    updates, state = transform.update(gradient, transform.init(gradient))
    assert updates.dtype == jnp.bfloat16
    assert state.mu.dtype == jnp.float32


@pytest.mark.parametrize("name", ["b1", "b2"])
@pytest.mark.parametrize("value", [1.0, -0.1])
def test_a_wrong_hyperparameter_raises(name, value):
    for make in (optim.scale_by_lion, lambda **kw: optim.lion(0.1, **kw)):
        with pytest.raises(ValueError, match=f"{name} must be in"):
            make(**{name: value})
