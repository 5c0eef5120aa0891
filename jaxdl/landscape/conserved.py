"""What symmetries conserve, and by exactly how much a step of descent breaks it.

A continuous symmetry makes the gradient g orthogonal to a direction ``T theta`` that is
linear in the parameters. With the symmetric bilinear form ``B(a, b) = a' T b`` this is
``B(g, theta) = 0``, and ``Q = B(theta, theta)`` is conserved by gradient flow. One step
of length eta is not flow, but its law is exact too::

    Q(theta - eta g) = Q(theta) + eta^2 B(g, g)

These laws hold for any loss and any batch, to rounding.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl import tree
from jaxdl.landscape.canonical import unit_rows
from jaxdl.landscape.symmetry import Symmetry, check_fits, leaf_names
from jaxdl.types import Array, Params, Scalar

Form = Callable[[Params, Params], Any]
"""A symmetric bilinear form of two trees like the parameters; a pytree of arrays."""


def rescaling_form(symmetry: Symmetry) -> Form:
    """The form of positive scales: of a ReLU unit, of weights before normalization.

    ``B(a, b)_i = sum power a b`` over the entries of unit i, so that for a ReLU unit
    ``Q = |w_in|^2 + bias^2 - |w_out|^2``, and for a unit whose weights batch
    normalization divides by their norm (epsilon 0) ``Q = |w|^2``.

    Args:
        symmetry: What is declared.

    Returns:
        ``form(a, b) -> {group: (m,)}``, for the groups with scales. Statistics do not
        count.

    Examples:
        >>> from jaxdl.landscape import Axis, Group
        >>> axes = [Axis("in", 0, "h", power=1), Axis("out", 0, "h", power=-1)]
        >>> form = rescaling_form(Symmetry({"h": Group(2, scales=True)}, axes))
        >>> params = {"in": jnp.array([3.0, 1.0]), "out": jnp.array([2.0, 2.0])}
        >>> print(form(params, params)["h"])
        [ 5. -3.]
    """
    groups = symmetry.by_name

    def form(a, b):
        check_fits(symmetry, a)
        products = leaf_names(jax.tree.map(jnp.multiply, a, b))
        values = {
            name: jnp.zeros(group.size, jnp.result_type(*products.values()))
            for name, group in groups.items()
            if group.scales
        }
        for axis in symmetry.axes:
            if axis.group in values and axis.leaf not in symmetry.statistics:
                rows = unit_rows(axis, groups[axis.group], products[axis.leaf])
                values[axis.group] += axis.power * jnp.sum(rows, axis=1)
        return values

    return form


def linear_form(layer: int) -> Form:
    """The form of a change of basis between two linear layers.

    ``Q = W_(l+1) W_(l+1)' - W_l' W_l - b_l b_l'`` with kernels ``(fan_in, fan_out)``, a
    matrix over the units between.

    Args:
        layer: Number l of the first of the two layers.

    Returns:
        ``form(a, b) -> (m, m)``, symmetric, of layers as of `jaxdl.models.mlp` with the
        identity as activation there.
    """

    def form(a, b):
        half = a[layer + 1].kernel @ b[layer + 1].kernel.T
        half = half - a[layer].kernel.T @ b[layer].kernel
        if a[layer].bias is not None:
            half = half - jnp.outer(a[layer].bias, b[layer].bias)
        return (half + half.T) / 2

    return form


def quantity(form: Form, params: Params) -> Any:
    """``Q = B(theta, theta)``, what gradient flow conserves.

    Args:
        form: From `rescaling_form` or `linear_form`.
        params: Tree of arrays.

    Returns:
        As the form.
    """
    return form(params, params)


def quantity_change(
    form: Form,
    params: Params,
    gradient: Params,
    learning_rate: Scalar,
    *,
    momentum: Scalar = 0.0,
    velocity: Params | None = None,
    weight_decay: Scalar = 0.0,
) -> Any:
    """By how much one step changes Q, exactly.

    With ``v' = momentum v + g + weight_decay theta`` and ``theta' = theta - eta v'``,
    that is gradient descent where both are zero::

        Q' - Q = -2 eta (momentum B(v, theta) + weight_decay Q) + eta^2 B(v', v')

    In no term does the gradient meet the parameters: ``B(g, theta) = 0`` is used. For
    gradient descent with weight decay, coupled or not, this is
    ``Q' = (1 - eta weight_decay)^2 Q + eta^2 B(g, g)``: decay balances the layers.

    Args:
        form: From `rescaling_form` or `linear_form`.
        params: theta, before the step.
        gradient: g of the loss there, without the decay.
        learning_rate: eta.
        momentum: Decay of the velocity.
        velocity: v before the step; zero where None.
        weight_decay: Coefficient of the L2 penalty ``|theta|^2 / 2``.

    Returns:
        As the form.
    """
    if velocity is None:
        velocity = tree.zeros_like(params)
    step = tree.add_scaled(gradient, weight_decay, params)
    step = tree.add_scaled(step, momentum, velocity)
    terms = form(velocity, params), form(params, params), form(step, step)

    def change(charge, value, square):
        first = momentum * charge + weight_decay * value
        return -2 * learning_rate * first + learning_rate**2 * square

    return jax.tree.map(change, *terms)


def momentum_quantity(
    form: Form,
    params: Params,
    velocity: Params,
    learning_rate: Scalar,
    momentum: Scalar,
) -> Any:
    """What the heavy ball conserves in place of Q, up to second order in its rate.

    ``I = Q - 2 eta beta / (1 - beta) B(v, theta)``. Momentum turns Q at first order in
    eta where the velocity is not orthogonal to the symmetry; I takes that into account.

    Args:
        form: From `rescaling_form` or `linear_form`.
        params: theta.
        velocity: v, as it was when it led to these parameters.
        learning_rate: eta.
        momentum: beta, in ``[0, 1)``.

    Returns:
        As the form.
    """
    _check_momentum(momentum)
    weight = 2 * learning_rate * momentum / (1 - momentum)
    return jax.tree.map(
        lambda value, charge: value - weight * charge,
        form(params, params),
        form(velocity, params),
    )


def momentum_quantity_change(
    form: Form, new_velocity: Params, learning_rate: Scalar, momentum: Scalar
) -> Any:
    """By how much one step of the heavy ball changes `momentum_quantity`, exactly.

    ``I' - I = eta^2 (1 + beta) / (1 - beta) B(v', v')`` with ``v' = beta v + g`` and
    ``theta' = theta - eta v'``.

    Args:
        form: From `rescaling_form` or `linear_form`.
        new_velocity: v'.
        learning_rate: eta.
        momentum: beta, in ``[0, 1)``.

    Returns:
        As the form.
    """
    _check_momentum(momentum)
    weight = learning_rate**2 * (1 + momentum) / (1 - momentum)
    return jax.tree.map(
        lambda square: weight * square, form(new_velocity, new_velocity)
    )


def logit_sums(params: Any) -> tuple[Array, Array | None]:
    """Sums over the outputs of the last layer, which softmax never sees.

    Each column sum of a gradient of the cross-entropy is zero there, so gradient
    descent, momentum and every method that adds up gradients conserve them exactly;
    with weight decay they shrink by ``1 - eta weight_decay`` a step of gradient
    descent. Methods that divide entry by entry, such as Adam, do not.

    Args:
        params: Layers with ``kernel`` and ``bias``, as of `jaxdl.models.mlp`.

    Returns:
        ``(m,)`` sums of the kernel, and the sum of the bias or None.
    """
    *_, last = params
    bias = None if last.bias is None else jnp.sum(last.bias)
    return jnp.sum(last.kernel, axis=1), bias


def effective_learning_rate(
    squared_norm: Array, learning_rate: Scalar, weight_decay: Scalar = 0.0
) -> Array:
    """The learning rate of a direction whose length the function ignores.

    Weights w before batch normalization (epsilon 0) matter by ``u = w / |w|`` alone.
    One step of gradient descent moves the direction, before it is normalized again, by
    exactly ``-eta / ((1 - eta weight_decay) |w|^2)`` times the gradient at u. As
    ``|w|^2`` grows by ``eta^2 |g|^2`` a step, the rate falls; with decay it settles,
    see `equilibrium_squared_norm`.

    Args:
        squared_norm: ``|w|^2``, such as `quantity` of `rescaling_form`.
        learning_rate: eta.
        weight_decay: As in `quantity_change`.

    Returns:
        In the shape of ``squared_norm``.

    References:
        van Laarhoven (2017), L2 regularization versus batch and weight normalization.
        https://arxiv.org/abs/1706.05350
    """
    return learning_rate / ((1 - learning_rate * weight_decay) * squared_norm)


def equilibrium_squared_norm(
    unit_gradient_squared: Array, learning_rate: Scalar, weight_decay: Scalar
) -> Array:
    """The squared norm at which weight decay takes what gradient descent adds.

    ``|w|^4 = eta |g_u|^2 / (weight_decay (2 - eta weight_decay))`` for a gradient of
    squared norm ``|g_u|^2`` at ``w / |w|`` that stays as it is: the fixed point of the
    law in `quantity_change`, as ``|g|^2 = |g_u|^2 / |w|^2``.

    Args:
        unit_gradient_squared: ``|g_u|^2``.
        learning_rate: eta.
        weight_decay: As in `quantity_change`, ``> 0``.

    Returns:
        In the shape of ``unit_gradient_squared``.
    """
    decay = weight_decay * (2 - learning_rate * weight_decay)
    return jnp.sqrt(learning_rate * unit_gradient_squared / decay)


def _check_momentum(momentum):
    if isinstance(momentum, float | int) and not 0 <= momentum < 1:
        raise ValueError(f"momentum must lie in [0, 1), got {momentum}")
