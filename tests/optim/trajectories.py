"""The ill-conditioned quadratic of golden/optimizers.npz, and how to descend it."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

GOLDEN = np.load(Path(__file__).parent.parent / "golden/optimizers.npz")


def descend(transform, noise=None):
    """Follow the golden quadratic for 20 float64 steps: ``(21, 4)``."""
    with jax.enable_x64(True):
        hessian, target = jnp.asarray(GOLDEN["H"]), jnp.asarray(GOLDEN["theta_star"])
        start = jnp.asarray(GOLDEN["theta0"])
        noise = jnp.zeros((20, 4)) if noise is None else jnp.asarray(noise)

        def step(carry, noise):
            theta, state = carry
            gradient = hessian @ (theta - target) + noise
            updates, state = transform.update(gradient, state, theta)
            theta = theta + updates
            return (theta, state), theta

        _, path = jax.lax.scan(step, (start, transform.init(start)), noise)
        return np.concatenate([GOLDEN["theta0"][None], np.asarray(path)])


def assert_follows(transform, name, noise=None):
    """The path is the golden one, to 1e-10."""
    got = descend(transform, noise)
    np.testing.assert_allclose(got, GOLDEN[name], rtol=0, atol=1e-10)


def run(transform, gradients, params):
    """Updates for a sequence of gradients, as a list of trees."""
    state, updates = transform.init(params), []
    for gradient in gradients:
        update, state = transform.update(gradient, state, params)
        updates.append(update)
    return updates
