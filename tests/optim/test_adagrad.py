import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import optim
from tests.optim.trajectories import assert_follows, run

RNG = np.random.default_rng(0)
G = RNG.normal(size=(5, 4)).astype(np.float32)


def test_golden_trajectory():
    assert_follows(optim.adagrad(0.5, 0.0, 1e-10, eps_in_sqrt=False), "adagrad")


def test_matches_optax():
    ours = run(optim.adagrad(0.3, 0.5, 0.2), G, jnp.zeros(4))
    theirs = run(optax.adagrad(0.3, 0.5, 0.2), G, jnp.zeros(4))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_steps_of_a_constant_gradient_shrink_as_one_over_root_t():
    steps = run(optim.adagrad(1.0, 0.0, 0.0), [jnp.array(7.0)] * 9, jnp.zeros(()))
    np.testing.assert_allclose(steps, -1 / np.sqrt(1 + np.arange(9)), rtol=1e-5)


def test_vmap_over_every_hyperparameter_equals_a_loop():
    def updates(rate, start, eps):
        transform = optim.adagrad(rate, start, eps, eps_in_sqrt=False)
        return jnp.stack(run(transform, G, jnp.zeros(4)))

    settings = np.float32([[0.1, 0.3], [0.0, 0.9], [1e-3, 0.2]])
    loop = [updates(*(float(x) for x in member)) for member in settings.T]
    np.testing.assert_allclose(jax.vmap(updates)(*settings), loop, rtol=1e-5)


@pytest.mark.parametrize("name", ["initial_accumulator_value", "eps"])
def test_a_wrong_hyperparameter_raises(name):
    for make in (optim.scale_by_adagrad, lambda **kw: optim.adagrad(0.1, **kw)):
        with pytest.raises(ValueError, match=f"{name} must be in"):
            make(**{name: -1e-3})
