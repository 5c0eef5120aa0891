"""Kernels of networks without a closed form: means over draws, with their errors."""

import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.ntk.empirical import empirical_nngp, empirical_ntk
from jaxdl.types import Array, Key, Params


class MonteCarloKernels(NamedTuple):
    """Means over draws of a network, and standard errors of these means.

    Attributes:
        nngp: ``(n1, n2)``.
        ntk: ``(n1, n2)``.
        nngp_error: ``(n1, n2)`` standard errors of ``nngp``; NaN after one draw.
        ntk_error: ``(n1, n2)`` standard errors of ``ntk``.
    """

    nngp: Array
    ntk: Array
    nngp_error: Array
    ntk_error: Array


def monte_carlo_kernel(
    init: Callable[..., Params], apply: Callable[..., Array], key: Key, n: int
) -> Callable[..., MonteCarloKernels]:
    """Kernels of any network, as means over ``n`` draws of its parameters.

    With all k outputs of one example, and the trace of the tangent kernel::

        nngp = mean f(x1) . f(x2) / k
        ntk = mean tr(df(x1)/dtheta (df(x2)/dtheta)^T) / k

    They are kernels of finite width: as the widths grow they approach those of
    infinite width, with a bias of order 1 / width that more draws do not lessen.

    Args:
        init: ``init(key, input_shape) -> params``, as of a `Layer`, or
            ``init(key) -> params``.
        apply: ``apply(params, x)`` of one example. If it takes a ``key``, each
            example of each draw gets one of its own, so that dropout drops.
        key: PRNG key.
        n: Draws, 1 or more; 2 or more for an error.

    Returns:
        ``kernel(x1, x2=None) -> MonteCarloKernels`` of batches ``(n1, ...)`` and
        ``(n2, ...)``, or of one. It holds the Jacobians of one draw at a time, raises
        a ``ValueError`` if the examples' shapes differ, and may be put under ``jit``.

    Raises:
        ValueError: If ``n < 1``.

    Examples:
        >>> from jaxdl.ntk.infinite import dense
        >>> init, apply, kernel = dense(1)
        >>> x = jnp.array([[3.0, 4.0]])
        >>> means = monte_carlo_kernel(init, apply, jax.random.key(0), 100)(x)
        >>> print(kernel(x).nngp, abs(means.nngp - 12.5) < 4 * means.nngp_error)
        [[12.5]] [[ True]]
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")

    takes_key = "key" in inspect.signature(apply).parameters

    def with_key(params, x_and_numbers):
        x, numbers = x_and_numbers
        if not takes_key:
            return apply(params, x)
        own = jax.random.wrap_key_data(numbers, impl=jax.random.key_impl(key))
        return apply(params, x, key=own)

    def kernel(x1: Any, x2: Any = None) -> MonteCarloKernels:
        x1 = jnp.asarray(x1)
        x2 = None if x2 is None else jnp.asarray(x2)
        if x2 is not None and x1.shape[1:] != x2.shape[1:]:
            raise ValueError(
                f"x1 and x2 must hold examples of one shape, got {x1.shape}, {x2.shape}"
            )

        def one(moments, number):
            init_key, key1, key2 = jax.random.split(jax.random.fold_in(key, number), 3)
            params = _draw(init, init_key, x1)
            sides = _with_keys(x1, key1), None if x2 is None else _with_keys(x2, key2)
            drawn = tuple(
                kernel(with_key, params, *sides, outputs="trace")
                for kernel in (empirical_nngp, empirical_ntk)
            )
            # Welford's update of mean and sum of squares.
            mean, squares = moments
            shift = jax.tree.map(jnp.subtract, drawn, mean)
            mean = jax.tree.map(lambda m, s: m + s / (number + 1), mean, shift)
            squares = jax.tree.map(
                lambda q, s, d, m: q + s * (d - m), squares, shift, drawn, mean
            )
            return (mean, squares), None

        shape = (len(x1), len(x1 if x2 is None else x2))
        zeros = jnp.zeros(shape, jnp.result_type(x1, float))
        start = ((zeros, zeros), (zeros, zeros))
        (mean, squares), _ = jax.lax.scan(one, start, jnp.arange(n))
        scale = math.nan if n == 1 else 1 / (n * (n - 1))
        errors = [jnp.sqrt(q * scale) for q in squares]
        return MonteCarloKernels(*mean, *errors)

    return kernel


def _draw(init, key, x):
    """Parameters from ``init(key, input_shape)`` or ``init(key)``."""
    shape = x.shape[1:]
    try:
        signature = inspect.signature(init)
    except ValueError:  # a built-in without one
        return init(key, shape)
    if "dtype" in signature.parameters and jnp.issubdtype(x.dtype, jnp.floating):
        return init(key, shape, dtype=x.dtype)
    try:
        signature.bind(key, shape)
    except TypeError:
        return init(key)
    return init(key, shape)


def _with_keys(x, key):
    """Examples, each with a key of its own, as numbers."""
    return x, jax.random.key_data(jax.random.split(key, len(x)))
