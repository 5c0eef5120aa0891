import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import optim
from tests.optim.trajectories import run

KEY = jax.random.key(3)
ZEROS = {"a": np.zeros(5000, np.float32), "b": np.zeros(5000, np.float32)}


def test_moments_and_annealing():
    updates = run(optim.add_noise(KEY, eta=4.0, gamma=1.0), [ZEROS] * 4, ZEROS)
    for t, update in enumerate(updates, start=1):
        for leaf in update.values():
            # Standard errors at n = 5000: 1.4 % of the mean, 1 % of the deviation.
            deviation = 2 / np.sqrt(t)
            np.testing.assert_allclose(np.mean(leaf), 0, atol=0.06 * deviation)
            np.testing.assert_allclose(np.std(leaf), deviation, rtol=0.04)


def test_leaves_steps_and_keys_are_independent():
    first, second = run(optim.add_noise(KEY, 1.0, 0.0), [ZEROS] * 2, ZEROS)
    (other,) = run(optim.add_noise(jax.random.key(4), 1.0, 0.0), [ZEROS], ZEROS)
    draws = [first["a"], first["b"], second["a"], other["a"]]
    correlation = np.corrcoef(np.stack(draws)) - np.eye(4)
    assert np.abs(correlation).max() < 0.06


def test_the_gradient_is_added_to_and_the_dtype_kept():
    gradient = {"w": jnp.full(4, 10.0, jnp.bfloat16), "none": None}
    (quiet,) = run(optim.add_noise(KEY, 0.0, 0.5), [gradient], gradient)
    np.testing.assert_array_equal(quiet["w"], gradient["w"])
    assert quiet["w"].dtype == jnp.bfloat16
    assert quiet["none"] is None


def test_vmap_over_key_and_scale_equals_a_loop():
    zeros = jnp.zeros(3)

    def noise(key, eta, gamma):
        return jnp.stack(run(optim.add_noise(key, eta, gamma), [zeros] * 2, zeros))

    keys = jax.random.split(KEY, 2)
    eta, gamma = np.float32([1.0, 4.0]), np.float32([0.0, 0.5])
    loop = [noise(keys[i], float(eta[i]), float(gamma[i])) for i in range(2)]
    np.testing.assert_allclose(jax.vmap(noise)(keys, eta, gamma), loop, rtol=1e-5)


@pytest.mark.parametrize("name", ["eta", "gamma"])
def test_a_wrong_hyperparameter_raises(name):
    settings = {"eta": 1.0, "gamma": 1.0} | {name: -0.5}
    with pytest.raises(ValueError, match=rf"{name} must be in \[0, inf\)"):
        optim.add_noise(KEY, **settings)
