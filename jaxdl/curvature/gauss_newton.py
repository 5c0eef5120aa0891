"""Gauss-Newton and Fisher matrices as operators: ``J^T B J`` with a simple B."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from jaxdl import tree
from jaxdl.curvature.batches import batch_operator, misfit, not_examples
from jaxdl.curvature.hessians import Loss
from jaxdl.curvature.operators import LinearOperator, Rule
from jaxdl.types import Array, Params

Apply = Callable[[Params, Any], Any]
"""``apply(params, x) -> outputs`` for one example."""


def ggn_vp(
    apply: Apply,
    loss_of_outputs: Callable[[Any, Any], Array],
    params: Params,
    batch: Any,
    *,
    chunk_size: int | None = None,
) -> LinearOperator:
    """The generalized Gauss-Newton matrix of a loss, as an operator.

    ``G = (1/n) sum_i J_i^T H_i J_i``, where J_i is the Jacobian of example i's outputs
    in the parameters and H_i the Hessian of its loss in the outputs. It is the Hessian
    of the loss with the model linearized: what remains is the curvature of the model
    itself. Positive semi-definite if the loss is convex in the outputs.

    Args:
        apply: ``apply(params, x) -> outputs`` for one example.
        loss_of_outputs: ``loss_of_outputs(outputs, y) -> ()`` for one example, such as
            `jaxdl.losses.cross_entropy`.
        params: As in `hvp`.
        batch: ``(x, y)``, pytrees of arrays with the n examples along their first axis.
        chunk_size: As in `hvp`.

    Returns:
        An operator on trees like ``params``.

    Raises:
        ValueError: If ``batch`` is no such pair, the loss no scalar, or ``params`` has
            leaves other than float32 and float64 or none.

    References:
        Schraudolph (2002), Fast curvature matrix-vector products for second-order
        gradient descent, Neural Computation 14(7), 1723-1738.

    Examples:
        >>> from jaxdl.losses import squared_error
        >>> def apply(w, x):
        ...     return jnp.tanh(x * w)
        >>> batch = (jnp.array([1.0, 2.0]), jnp.array([5.0, 5.0]))
        >>> operator = ggn_vp(apply, squared_error, jnp.array(0.0), batch)
        >>> print(operator.matvec(jnp.array(1.0)))  # (1 + 4) / 2
        2.5
    """
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise ValueError(f"batch must be a pair (x, y), got {type(batch).__name__}")
    if message := misfit(params, batch, chunk_size) or not_examples(batch):
        raise ValueError(message)
    rule = _GaussNewton(apply, loss_of_outputs)
    return batch_operator(rule, params, tuple(batch), chunk_size)


def fisher_vp(
    apply: Apply,
    log_partition: str | Callable[[Any], Array],
    params: Params,
    inputs: Any,
    *,
    chunk_size: int | None = None,
) -> LinearOperator:
    """The Fisher information matrix of a model, as an operator.

    The model's outputs z are the natural parameters of an exponential family,
    ``log p(y | z) = <T(y), z> - a(z) + const``, and then
    ``F = (1/n) sum_i E_y[s_i s_i^T] = (1/n) sum_i J_i^T a''(z_i) J_i``. Here s_i is the
    gradient of ``log p(y | z_i)`` in the parameters for y drawn from the model, and J_i
    the Jacobian of z_i: it takes no labels and no sampling.

    Args:
        apply: ``apply(params, x) -> z`` for one example.
        log_partition: The function a of one example's outputs, ``a(z) -> ()``. Or
            "categorical" for logits along the last axis, ``logsumexp(z)``; "bernoulli"
            for log odds, ``softplus(z)``; "normal" for means at unit variance,
            ``z^2 / 2``; these sum over all other axes.
        params: As in `hvp`.
        inputs: Pytree of arrays with the n examples x along their first axis.
        chunk_size: As in `hvp`.

    Returns:
        An operator on trees like ``params``; positive semi-definite.

    Raises:
        ValueError: If the family is unknown, ``log_partition`` no scalar, ``inputs``
            are no examples, or ``params`` has leaves other than float32 and float64 or
            none.

    References:
        Martens (2020), New insights and perspectives on the natural gradient method.
        https://arxiv.org/abs/1412.1193
    """
    if isinstance(log_partition, str) and log_partition not in _FAMILIES:
        raise ValueError(
            f"log_partition must be a function or one of {list(_FAMILIES)}, "
            f"got {log_partition!r}"
        )
    if message := misfit(params, inputs, chunk_size) or not_examples(inputs):
        raise ValueError(message)
    known = isinstance(log_partition, str)
    function = _FAMILIES[log_partition] if known else log_partition
    rule = _GaussNewton(apply, _Unlabelled(function))
    return batch_operator(rule, params, (inputs, None), chunk_size)


def empirical_fisher_vp(
    loss: Loss, params: Params, batch: Any, *, chunk_size: int | None = None
) -> LinearOperator:
    """The second moment of the gradients of single examples, as an operator.

    ``E = (1/n) sum_i g_i g_i^T``, where g_i is the gradient of example i's loss. It is
    not the Fisher information, which takes labels from the model where this takes the
    given ones; and the mean gradient is not subtracted.

    Args:
        loss: As in `hvp`; called on batches of one example.
        params: As in `hvp`.
        batch: Pytree of arrays with the n examples along their first axis.
        chunk_size: As in `hvp`.

    Returns:
        An operator on trees like ``params``; positive semi-definite, of rank at most n.

    Raises:
        ValueError: If the loss is not a scalar, ``batch`` holds no examples, or
            ``params`` has leaves other than float32 and float64 or none.

    References:
        Kunstner, Balles, Hennig (2019), Limitations of the empirical Fisher
        approximation for natural gradient descent. https://arxiv.org/abs/1905.12558
    """
    if message := misfit(params, batch, chunk_size) or not_examples(batch):
        raise ValueError(message)
    return batch_operator(_EmpiricalFisher(loss), params, batch, chunk_size)


class _Sandwich(Rule):
    """``J^T B J``; the data are the products with J and with B."""

    def product(self, data, vector):
        push, inner = data
        (image,) = jax.linear_transpose(push, vector)(inner(push(vector)))
        return image

    def form(self, data, vector):
        """``<J v, B J v>``, which needs no transpose."""
        push, inner = data
        outputs = push(vector)
        return tree.dot(outputs, inner(outputs))


@dataclass(frozen=True)
class _GaussNewton(_Sandwich):
    """J is the Jacobian of all outputs, B the Hessian of the mean loss in them."""

    apply: Apply
    loss_of_outputs: Callable[[Any, Any], Array]

    def linearize(self, params, batch):
        inputs, targets = batch

        def outputs(params):
            return jax.vmap(self.apply, (None, 0))(params, inputs)

        def loss(z):
            values = jax.vmap(self.loss_of_outputs)(z, targets)
            if values.ndim != 1:
                raise ValueError(
                    "the loss of one example's outputs must be (), got shape "
                    f"{values.shape[1:]}"
                )
            return jnp.mean(values)

        z, push = jax.linearize(outputs, params)
        return push, jax.linearize(jax.grad(loss), z)[1]


@dataclass(frozen=True)
class _Unlabelled:
    """A loss of the outputs alone."""

    function: Callable[[Any], Array]

    def __call__(self, outputs, target):
        """The target is None."""
        del target
        return self.function(outputs)


@dataclass(frozen=True)
class _EmpiricalFisher(_Sandwich):
    """J is the Jacobian of the n losses, each of a batch of one; B is I / n."""

    loss: Loss

    def linearize(self, params, batch):
        def losses(params):
            def one(example):
                return self.loss(params, jax.tree.map(lambda x: x[None], example))

            return jax.vmap(one)(batch)

        values, push = jax.linearize(losses, params)
        if values.ndim != 1:
            raise ValueError(f"loss must return (), got shape {values.shape[1:]}")
        return push, Partial(_divided_by_its_size)


def _divided_by_its_size(slopes):
    """``B v`` of the empirical Fisher matrix."""
    return slopes / slopes.size


_FAMILIES: dict[str, Callable[[Any], Array]] = {
    "categorical": lambda z: jnp.sum(jax.nn.logsumexp(z, axis=-1)),
    "bernoulli": lambda z: jnp.sum(jax.nn.softplus(z)),
    "normal": lambda z: jnp.sum(jnp.square(z)) / 2,
}
