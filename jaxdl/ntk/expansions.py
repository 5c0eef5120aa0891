"""A model as a polynomial in its parameters, around given ones."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl import tree
from jaxdl.curvature.operators import not_a_space
from jaxdl.types import Array, Params, Scalar

Function = Callable[[Params, Any], Any]
"""``apply(params, x) -> outputs``, of one example or of many."""


def linearize(apply: Function, params: Params) -> Function:
    """The model with its parameters to first order.

    ``f(p, x) = apply(params, x) + D apply(params, x) [p - params]``, where D is the
    derivative in the parameters. Its tangent kernel is that of ``apply`` at ``params``,
    wherever it is trained to.

    Args:
        apply: ``apply(params, x) -> outputs``, an array or pytree of float arrays.
        params: Pytree of float32 or float64 arrays to expand around.

    Returns:
        ``f(p, x)``, which takes what ``apply`` takes and may be traced and
        differentiated. It raises a ValueError if p is no tree like ``params``.

    Raises:
        ValueError: If ``params`` has other leaves or none.

    References:
        Lee, Xiao, Schoenholz, Bahri, Novak, Sohl-Dickstein, Pennington (2019), Wide
        neural networks of any depth evolve as linear models under gradient descent.
        https://arxiv.org/abs/1902.06720

    Examples:
        >>> f = linearize(lambda w, x: w**2 * x, jnp.array(3.0))
        >>> print(f(jnp.array(4.0), 10.0))  # 90 + 60 (4 - 3)
        150.0
    """
    if message := not_a_space(params=params):
        raise ValueError(message)
    return taylor_expand(apply, params, 1)


def taylor_expand(apply: Function, params: Params, degree: int) -> Function:
    """The model as a Taylor polynomial in its parameters.

    ``f(p, x) = sum_{m=0}^degree D^m apply(params, x) [d, ..., d] / m!`` with ``d = p -
    params``. The remainder is of order ``|d|^(degree + 1)`` where the model is that
    smooth. A ReLU network is a polynomial as far as no unit changes sides, and no
    expansion knows of those that do.

    The derivatives along d are nested forward passes. Uncompiled, that costs about
    ``2^degree`` times ``apply``; under ``jit`` less, as passes have parts in common.

    Args:
        apply: ``apply(params, x) -> outputs``, an array or pytree of float arrays.
        params: Pytree of float32 or float64 arrays to expand around.
        degree: ``>= 0``; 0 keeps the outputs at ``params``.

    Returns:
        ``f(p, x)``, which takes what ``apply`` takes and may be traced and
        differentiated. It raises a ValueError if p is no tree like ``params``.

    Raises:
        ValueError: If ``degree`` is no such integer, or ``params`` has other leaves or
            none.

    Examples:
        >>> cubic = lambda w, x: w**3 * x
        >>> f = taylor_expand(cubic, jnp.array(1.0), 2)
        >>> print(f(jnp.array(2.0), 1.0))  # 1 + 3 + 3; the cubic itself says 8
        7.0
    """
    if isinstance(degree, bool) or not isinstance(degree, int) or degree < 0:
        raise ValueError(f"degree must be an integer >= 0, got {degree!r}")
    if message := not_a_space(params=params):
        raise ValueError(message)
    center = jax.tree.map(jnp.asarray, params)

    def expansion(params: Params, x: Any) -> Any:
        direction = _difference(params, center)

        def outputs(params):
            return (apply(params, x),)

        function = outputs
        for _ in range(degree):
            function = _with_next_derivative(function, direction)
        value, *derivatives = function(center)
        for order, derivative in enumerate(derivatives, start=1):
            value = tree.add_scaled(value, 1 / math.factorial(order), derivative)
        return value

    return expansion


def scaled_output(apply: Function, params: Params, alpha: Scalar) -> Function:
    """The model with its output scaled, from rich to lazy training.

    ``f(p, x) = alpha (apply(p, x) - apply(params, x))``: it starts at zero, up to alpha
    times rounding, and the larger alpha is, the less the parameters move to fit given
    targets. For alpha to infinity the trained model tends to its linearization; for
    small alpha it learns features. To compare scales, minimize the loss divided by
    ``alpha^2``: then the rate of change of the outputs does not depend on alpha at the
    start.

    Args:
        apply: ``apply(params, x) -> outputs``, an array or pytree of float arrays.
        params: Parameters at which training starts: pytree of float32 or float64.
        alpha: ``> 0``; may be traced.

    Returns:
        ``f(p, x)``, which takes what ``apply`` takes. It raises a ValueError if p is no
        tree like ``params``.

    Raises:
        ValueError: If ``alpha`` is a Python number outside its domain, or ``params``
            has other leaves or none.

    References:
        Chizat, Oyallon, Bach (2019), On lazy training in differentiable programming.
        https://arxiv.org/abs/1812.07956

    Examples:
        >>> f = scaled_output(lambda w, x: w * x, jnp.array(3.0), alpha=100.0)
        >>> print(f(jnp.array(3.0), 5.0), f(jnp.array(4.0), 5.0))
        0.0 500.0
    """
    if isinstance(alpha, float | int) and not 0 < alpha < math.inf:
        raise ValueError(f"alpha must be in (0, inf), got {alpha}")
    if message := not_a_space(params=params):
        raise ValueError(message)
    start = jax.tree.map(jnp.asarray, params)

    def scaled(params: Params, x: Any) -> Array:
        _difference(params, start)
        outputs = apply(jax.tree.map(jnp.asarray, params), x)
        change = tree.subtract(outputs, apply(start, x))
        return tree.scale(alpha, change)

    return scaled


def _with_next_derivative(function, direction):
    """From ``(f, ..., D^m f)`` to that and ``D^(m+1) f``, along the direction."""

    def extended(params):
        values, slopes = jax.jvp(function, (params,), (direction,))
        return *values, slopes[-1]

    return extended


def _difference(params, center):
    """``params - center``, in the dtypes of the center.

    Raises:
        ValueError: If these are trees of other shapes.
    """
    params = jax.tree.map(jnp.asarray, params)
    got = jax.tree.map(jnp.shape, params)
    wanted = jax.tree.map(jnp.shape, center)
    if got != wanted:
        raise ValueError(f"params must be a tree of shapes {wanted}, got {got}")
    return jax.tree.map(lambda p, c: (p - c).astype(c.dtype), params, center)
