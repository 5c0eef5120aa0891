"""Plain JAX, the gradient linearized once and reused: as fast as a product gets."""

import jax

from benchmarks._curvature.with_jax import PACKAGES, ROWS, ladders, load, loss

__all__ = ["PACKAGES", "ROWS", "ladders", "prepare"]


@jax.jit
def _linearized(params, batch):
    return jax.linearize(jax.grad(lambda params: loss(params, batch)), params)[1]


def prepare(problem):
    """Products by ``linearize`` of ``grad``."""
    params, batch, vector = load(problem)
    return _linearized(params, batch), params, batch, vector
