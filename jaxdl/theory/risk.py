"""The excess risk of an estimator, split into bias and variance."""

from typing import NamedTuple

import jax.numpy as jnp

from jaxdl.types import Array


class Risk(NamedTuple):
    """Excess risk: expected squared error of prediction, less that of the truth.

    The noise of the test labels is not in it: add its variance for the test error.
    All fields are float64 ``()`` arrays, in squared units of the label.
    """

    bias: Array  # due to shrinkage, and to what the features cannot express
    variance: Array  # due to the noise of the training labels
    total: Array  # bias + variance


def from_parts(bias: Array, variance: Array) -> Risk:
    """The risk with these parts."""
    return Risk(bias, variance, bias + variance)


def weigh(amount: Array, factor: Array) -> Array:
    """``amount * factor``, where nothing of the infinite is nothing: 0 inf = 0."""
    nothing = (amount == 0) & jnp.isinf(factor)
    return amount * jnp.where(nothing, 0.0, factor)
