"""A sweep of your own: a function of one point, axes, and a directory."""

import sys

import jax
import jax.numpy as jnp

from jaxdl import sweep


def point(key, noise, ridge, n):
    """Error of ridge regression on ``n`` noisy examples in ten dimensions."""
    k_x, k_w, k_noise = jax.random.split(key, 3)
    x, w = jax.random.normal(k_x, (n, 10)), jax.random.normal(k_w, (10,))
    y = x @ w + noise * jax.random.normal(k_noise, (n,))
    fit = jnp.linalg.solve(x.T @ x + ridge * jnp.eye(10), x.T @ y)
    return {"error": jnp.sum((fit - w) ** 2)}


grid = sweep.product(
    sweep.shapes("n", [20, 40]),  # a program each
    sweep.values("ridge", [0.1, 1.0, 10.0]),
    sweep.values("noise", [0.5] * 50),  # 50 draws: the key differs from point to point
)
if __name__ == "__main__":
    directory = sys.argv[1] if len(sys.argv) > 1 else "results/sweep"
    print(sweep.plan(point, grid))  # what it will do; runs nothing
    print(sweep.run(point, grid, directory))  # again: goes on where it ended
    print(sweep.results(directory)["error"].reshape(2, 3, 50).mean(axis=2))
