"""The Hessian of a loss, as an operator and as a matrix."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl.curvature.batches import batch_operator, misfit
from jaxdl.curvature.operators import LinearOperator, Rule, materialize
from jaxdl.types import Array, Params

Loss = Callable[[Params, Any], Array]
"""``loss(params, batch) -> ()``, a mean over the examples of the batch."""


def hessian(
    loss: Loss, params: Params, batch: Any, *, chunk_size: int | None = None
) -> Array:
    """The Hessian of a loss as a matrix; for small problems.

    Args:
        loss: As in `hvp`.
        params: As in `hvp`, p parameters in all.
        batch: As in `hvp`.
        chunk_size: As in `hvp`.

    Returns:
        ``(p, p)``, in the order of ``jaxdl.tree.ravel(params)``; symmetric up to
        rounding.

    Examples:
        >>> def loss(w, batch):
        ...     return jnp.mean((batch @ w) ** 2) / 2
        >>> print(hessian(loss, jnp.zeros(2), jnp.array([[1.0, 2.0], [3.0, 0.0]])))
        [[5. 1.]
         [1. 2.]]
    """
    return materialize(hvp(loss, params, batch, chunk_size=chunk_size))


def hvp(
    loss: Loss, params: Params, batch: Any, *, chunk_size: int | None = None
) -> LinearOperator:
    """The Hessian of a loss as an operator; one product costs about two gradients.

    The gradient is linearized once, here, and every product reuses that. It keeps what
    the gradient computes on the way, for the whole batch; with ``chunk_size`` for one
    chunk at a time, at the price of computing it anew in each product. Matrix products
    that leave their precision open are done in full precision on accelerators too.

    Eager calls are compiled, once for each function object and all shapes: define
    ``loss`` at module level, not in a loop, and hand it what changes in ``params`` or
    ``batch``. As under ``jit``, other values it refers to are those of the first call.

    Args:
        loss: ``loss(params, batch) -> ()``, a mean over the examples of the batch;
            terms that depend on the parameters alone may be added.
        params: Pytree of float32 or float64 arrays.
        batch: Whatever ``loss`` takes; with ``chunk_size`` a pytree of arrays with the
            examples along their first axis.
        chunk_size: Examples at a time, ``>= 1``; the last chunk may be smaller, and
            each counts by its length. None for all at once.

    Returns:
        An operator on trees like ``params``.

    Raises:
        ValueError: If the loss is not a scalar, ``params`` has leaves of other dtypes
            or none, or ``batch`` cannot be cut into chunks.

    References:
        Pearlmutter (1994), Fast exact multiplication by the Hessian, Neural
        Computation 6(1), 147-160.

    Examples:
        >>> def loss(w, batch):
        ...     return jnp.mean((batch @ w) ** 2) / 2
        >>> operator = hvp(loss, jnp.zeros(2), jnp.array([[1.0, 2.0], [3.0, 0.0]]))
        >>> print(operator.matvec(jnp.array([1.0, 1.0])))
        [6. 3.]
    """
    if message := misfit(params, batch, chunk_size):
        raise ValueError(message)
    return batch_operator(_Hessian(loss), params, batch, chunk_size)


@dataclass(frozen=True)
class _Hessian(Rule):
    """The data are the linearized gradient, the parameters and the batch."""

    loss: Loss

    def linearize(self, params, batch):
        """Keep what the gradient computes on the way."""
        gradient = jax.grad(lambda params: self._scalar(params, batch))
        return jax.linearize(gradient, params)[1], params, batch

    def product(self, data, vector):
        return data[0](vector)

    def form(self, data, vector):
        """The second derivative along v: forward twice, with no backward pass."""
        _, params, batch = data

        def slope(params):
            def loss(params):
                return self._scalar(params, batch)

            return jax.jvp(loss, (params,), (vector,))[1]

        with jax.default_matmul_precision("highest"):
            return jax.jvp(slope, (params,), (vector,))[1]

    def _scalar(self, params, batch):
        value = self.loss(params, batch)
        if jnp.shape(value):
            raise ValueError(f"loss must return (), got shape {jnp.shape(value)}")
        return value
