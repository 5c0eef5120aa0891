"""Gradient noise."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdl import tree
from jaxdl.optim.base import GradientTransformation, count_up, keep_dtype, zero_step
from jaxdl.optim.domains import outside
from jaxdl.types import Array, Key, Scalar


class AddNoiseState(NamedTuple):
    """How far the noise is annealed."""

    step: Array  # () int32, updates done so far


def add_noise(key: Key, eta: Scalar, gamma: Scalar) -> GradientTransformation:
    """Add Gaussian noise of variance ``eta / t**gamma`` at update t = 1, 2, ...

    Args:
        key: PRNG key. Update t draws from ``fold_in(key, t - 1)``, each leaf on its
            own; for independent noise in the members of an ensemble, ``vmap`` over
            the key.
        eta: Variance at the first update, ``>= 0``; units of the squared gradient.
        gamma: How fast the variance falls, ``>= 0``; 0 for constant noise.

    Returns:
        A transformation.

    Raises:
        ValueError: If ``eta`` or ``gamma`` is a Python number outside its domain.

    References:
        Neelakantan et al. (2015), Adding gradient noise improves learning for very
        deep networks, section 3. https://arxiv.org/abs/1511.06807

    Examples:
        >>> transform = add_noise(jax.random.key(0), eta=4.0, gamma=0.0)
        >>> updates, _ = transform.update(jnp.zeros(10_000), transform.init(None))
        >>> print(f"{jnp.std(updates):.1f}")
        2.0
    """
    if problem := outside("[0, inf)", eta=eta, gamma=gamma):
        raise ValueError(problem)

    def init(params):
        del params
        return AddNoiseState(zero_step())

    def update(updates, state, params=None):
        del params
        step = count_up(state.step)
        scale = jnp.sqrt(eta / step.astype(float) ** gamma)
        draws = tree.random_like(jax.random.fold_in(key, state.step), updates)
        updates = jax.tree.map(
            lambda g, noise: keep_dtype(g + scale * noise, g), updates, draws
        )
        return updates, AddNoiseState(step)

    return GradientTransformation(init, update)
