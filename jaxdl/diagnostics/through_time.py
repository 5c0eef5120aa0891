"""Gradients along a recurrence: do they vanish or explode?"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl import tree
from jaxdl.diagnostics.gradients import scaled_norm
from jaxdl.types import Array, Params

Step = Callable[[Params, Any, Any], Any]
"""``step(params, state, input) -> state``, a pytree of one structure and shapes."""


class JacobianNorms(NamedTuple):
    """Natural logarithms of spectral norms, ``(T + 1,)`` each, the last of them 0."""

    log_norm: Array  # of dh_T / dh_t for t = 0..T
    log_bound: Array  # sum over steps of the log norms of single Jacobians, not less


def gradient_norms_through_time(
    step: Step,
    params: Params,
    h0: Any,
    inputs: Any,
    loss: Callable[[Any], Array],
) -> Array:
    """The norm of dL / dh_t for every state of ``h_t = step(params, h_{t-1}, x_t)``.

    The derivative is total: along all paths from h_t to the loss, through all later
    states. It is the gradient with respect to a shift added to h_t, by one backward
    pass. Norms are safe down to the smallest number of the dtype; what is smaller is 0.

    Args:
        step: ``step(params, state, input) -> state``.
        params: Parameters of the step.
        h0: Initial state, a pytree of floating-point arrays.
        inputs: Pytree of ``(T, ...)`` arrays, T ``>= 1``, one row a step.
        loss: From the states h_1..h_T, stacked along a first axis T, to ``()``; for a
            loss of the last state ``lambda h: ...h[-1]...``.

    Returns:
        ``(T + 1,)``, for h_0..h_T.

    Raises:
        ValueError: If the inputs do not have one length T ``>= 1``.

    References:
        Pascanu, Mikolov, Bengio (2012), On the difficulty of training recurrent neural
        networks, section 2. https://arxiv.org/abs/1211.5063

    Examples:
        >>> def halve(params, h, x):
        ...     return h / 2 + x
        >>> print(gradient_norms_through_time(
        ...     halve, None, jnp.zeros(1), jnp.ones((3, 1)), lambda h: h[-1, 0]))
        [0.125 0.25  0.5   1.   ]
    """
    if message := _not_steps(inputs):
        raise ValueError(message)
    n = len(jax.tree.leaves(inputs)[0])
    h0 = jax.tree.map(jnp.asarray, h0)
    shifts = jax.tree.map(lambda h: jnp.zeros((n, *h.shape), h.dtype), h0)

    def of_shifts(h0, shifts):
        def advance(h, row):
            x, shift = row
            h = tree.add(step(params, h, x), shift)
            return h, h

        return loss(jax.lax.scan(advance, h0, (inputs, shifts))[1])

    first, later = jax.grad(of_shifts, (0, 1))(h0, shifts)
    norms = jax.vmap(scaled_norm)(later)
    return jnp.concatenate([scaled_norm(first)[None].astype(norms.dtype), norms])


def jacobian_norms(step: Step, params: Params, h0: Any, inputs: Any) -> JacobianNorms:
    """The spectral norm of ``dh_T / dh_t = J_T ... J_{t+1}``, for every t.

    ``J_t = dh_t / dh_{t-1}`` are formed, and their product is kept at norm 1 with the
    logarithm of its scale beside it, so that neither end of the range is met. A loss of
    the last state has ``|dL / dh_t| <= exp(log_norm[t]) |dL / dh_T|``.

    Args:
        step: ``step(params, state, input) -> state``.
        params: Parameters of the step.
        h0: Initial state, a pytree of floating-point arrays with h entries; T h^2
            numbers must fit into memory.
        inputs: Pytree of ``(T, ...)`` arrays, T ``>= 1``.

    Returns:
        Logarithms, minus infinity where a product is zero.

    Raises:
        ValueError: If the inputs do not have one length T ``>= 1``.

    References:
        Pascanu, Mikolov, Bengio (2012), On the difficulty of training recurrent neural
        networks, section 2.1. https://arxiv.org/abs/1211.5063

    Examples:
        >>> def halve(params, h, x):
        ...     return h / 2 + x
        >>> found = jacobian_norms(halve, None, jnp.zeros(2), jnp.ones((3, 2)))
        >>> print(jnp.exp(found.log_norm).round(4))
        [0.125 0.25  0.5   1.   ]
    """
    if message := _not_steps(inputs):
        raise ValueError(message)
    flat, unravel = tree.ravel(h0)

    def advance(h, x):
        def flat_step(h):
            return tree.ravel(step(params, unravel(h), x))[0]

        return flat_step(h), jax.jacobian(flat_step)(h)

    _, jacobians = jax.lax.scan(advance, flat, inputs)

    def multiply(carry, jacobian):
        product, log_scale = carry
        product = jnp.matmul(product, jacobian, precision="highest")
        scale = scaled_norm(product)
        product = product / jnp.where(scale > 0, scale, 1)
        log_scale = log_scale + jnp.log(scale)
        return (product, log_scale), log_scale + jnp.log(_spectral_norm(product))

    start = jnp.eye(flat.size, dtype=flat.dtype), jnp.zeros((), flat.dtype)
    _, products = jax.lax.scan(multiply, start, jacobians, reverse=True)
    single = jnp.log(jax.vmap(_spectral_norm)(jacobians))
    bounds = jnp.cumsum(single[::-1])[::-1]
    last = jnp.zeros(1, flat.dtype)
    return JacobianNorms(
        jnp.concatenate([products, last]), jnp.concatenate([bounds, last])
    )


def _spectral_norm(matrix):
    """The largest singular value."""
    return jnp.linalg.svd(matrix, compute_uv=False)[0]


def _not_steps(inputs):
    """What to say of inputs without one number of steps."""
    lengths = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(inputs)}
    if len(lengths) == 1 and not lengths & {(), (0,)}:
        return ""
    return (
        "inputs must hold arrays with the same number of steps, at least one, along "
        f"their first axis; got lengths {sorted(lengths)}"
    )
