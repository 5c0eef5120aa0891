"""Directions along which a continuous symmetry moves parameters.

The loss does not change along them, so the gradient is orthogonal to them everywhere,
and at a critical point they lie in the null space of the Hessian.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxdl import tree
from jaxdl.landscape.elements import act, identity_element
from jaxdl.landscape.symmetry import Symmetry, check_fits
from jaxdl.types import Array, Params


def linear_action(params: Any, layer: int, matrix: Array) -> Any:
    """A change of basis between two layers with nothing but the identity between.

    ``W_l A, b_l A, A^-1 W_(l+1)`` for an invertible A: the general linear group, of
    which permutations, signs and scales are a part.

    Args:
        params: Layers with ``kernel`` and ``bias``, as of `jaxdl.models.mlp`.
        layer: Number l of the first of the two layers.
        matrix: ``(m, m)`` invertible A, m the outputs of layer l.

    Returns:
        Layers like ``params``.

    Raises:
        ValueError: If there are no such two layers, or the matrix does not fit.

    Examples:
        >>> from jaxdl.models import mlp
        >>> params = mlp.init(jax.random.key(0), (3, 2, 1))
        >>> moved = linear_action(params, 0, jnp.array([[1.0, 5.0], [0.0, 2.0]]))
        >>> x = jnp.ones(3)
        >>> before, after = (
        ...     mlp.apply(p, x, activation=lambda z: z) for p in (params, moved)
        ... )
        >>> bool(jnp.allclose(before, after))
        True
    """
    first, second = _two_layers(params, layer)
    m = first.kernel.shape[1]
    if jnp.shape(matrix) != (m, m):
        raise ValueError(f"matrix must be ({m}, {m}), got {jnp.shape(matrix)}")
    bias = None if first.bias is None else first.bias @ matrix
    return _with_layers(
        params,
        layer,
        first._replace(kernel=first.kernel @ matrix, bias=bias),
        second._replace(kernel=jnp.linalg.solve(matrix, second.kernel)),
    )


def softmax_shift(params: Any, shift: Array, constant: Array) -> Any:
    """The same probabilities from logits that are all moved by one number.

    ``W + u 1', b + c 1`` in the last layer; its logits all move by ``h'u + c``.

    Args:
        params: Layers with ``kernel`` and ``bias``, as of `jaxdl.models.mlp`.
        shift: ``(m,)``, u, m the inputs of the last layer.
        constant: ``()``, c; without effect where there is no bias.

    Returns:
        Layers like ``params``.

    Raises:
        ValueError: If ``shift`` does not fit the last layer.
    """
    *_, last = params
    m = last.kernel.shape[0]
    if jnp.shape(shift) != (m,):
        raise ValueError(f"shift must be ({m},), got {jnp.shape(shift)}")
    bias = None if last.bias is None else last.bias + constant
    moved = last._replace(kernel=last.kernel + shift[:, None], bias=bias)
    return type(params)((*params[:-1], moved))


def scale_tangents(symmetry: Symmetry, params: Params) -> Params:
    """The derivatives of the parameters by the logarithm of each unit's scale.

    For the scale of unit i, ``power * theta`` in the entries of that unit and zero in
    all others. The gradient g is orthogonal to it, ``g't = 0``, and the Hessian takes
    it to ``H t = -D g``, D the powers on the diagonal: zero at a critical point. Of a
    loss with kinks, such as that of ReLU networks, this is so wherever it is smooth.

    Args:
        symmetry: What is declared.
        params: Tree of floating-point arrays that it fits.

    Returns:
        A tree like ``params`` with a leading axis: one tangent a scale, in the order of
        `group_order`'s count. They are orthogonal to those of the same group, but not
        always independent.
    """
    check_fits(symmetry, params)
    dtype = jnp.result_type(float, *jax.tree.leaves(params))
    still = identity_element(symmetry, dtype)
    groups = symmetry.by_name
    scaled = [name for name, group in groups.items() if group.scales]
    sizes = [groups[name].size for name in scaled]
    total = sum(sizes)

    def moved(logarithms):
        element, start = dict(still), 0
        for name, size in zip(scaled, sizes, strict=True):
            factor = jnp.exp(logarithms[start : start + size])
            element[name] = still[name]._replace(factor=factor)
            start += size
        return act(symmetry, element, params)

    def along(direction):
        return jax.jvp(moved, (jnp.zeros(total, dtype),), (direction,))[1]

    return jax.vmap(along)(jnp.eye(total, dtype=dtype))


def linear_tangents(params: Any, layer: int) -> Any:
    """The derivatives of `linear_action` by each entry of its matrix, at the identity.

    ``W_l E, b_l E, -E W_(l+1)`` for each unit matrix E. A critical point of rank r of a
    linear network has fewer independent ones than the m^2 listed.

    Args:
        params: As in `linear_action`.
        layer: As in `linear_action`.

    Returns:
        Layers like ``params`` with a leading axis of ``m * m`` tangents.
    """
    first, second = _two_layers(params, layer)
    m = first.kernel.shape[1]
    zeros = jax.tree.map(jnp.zeros_like, params)

    def along(unit):
        bias = None if first.bias is None else first.bias @ unit
        return _with_layers(
            zeros,
            layer,
            first._replace(kernel=first.kernel @ unit, bias=bias),
            zeros[layer + 1]._replace(kernel=-unit @ second.kernel),
        )

    return jax.vmap(along)(jnp.eye(m * m, dtype=first.kernel.dtype).reshape(-1, m, m))


def softmax_tangents(params: Any) -> Any:
    """The directions of `softmax_shift`: null vectors of the Hessian everywhere.

    Args:
        params: As in `softmax_shift`.

    Returns:
        Layers like ``params`` with a leading axis: one tangent an input of the last
        layer, ``m`` of them, and one more for its bias.
    """
    *_, last = params
    m = last.kernel.shape[0]
    zeros = jax.tree.map(jnp.zeros_like, params)
    units = jnp.eye(m, m + 1, dtype=last.kernel.dtype).T

    def along(unit, constant):
        return softmax_shift(zeros, unit, constant)

    constants = jnp.zeros(m + 1, last.kernel.dtype).at[m].set(1)
    tangents = jax.vmap(along)(units, constants)
    if last.bias is None:
        return jax.tree.map(lambda x: x[:m], tangents)
    return tangents


def cosines(tangents: Params, vector: Params) -> Array:
    """Cosine of the angle between each tangent and a vector, such as the gradient.

    Zero where the symmetry is exact. Batch normalization with its epsilon is not: there
    the cosine of gradient and weights says how far from it.

    Args:
        tangents: A tree like ``vector`` with a leading axis of n tangents.
        vector: Tree of arrays.

    Returns:
        ``(n,)``; zero for a tangent or a vector that is zero.
    """

    def one(tangent):
        size = tree.norm(tangent) * tree.norm(vector)
        return jnp.where(
            size > 0, tree.dot(tangent, vector) / jnp.where(size > 0, size, 1), 0
        )

    return jax.vmap(one)(tangents)


def scale_hessian_products(symmetry: Symmetry, params: Params, gradient: Params):
    """What the Hessian makes of each of `scale_tangents`, from the gradient alone.

    ``H t = -D g``: the derivative of ``g't = 0``.

    Args:
        symmetry: What is declared.
        params: Tree of floating-point arrays that it fits.
        gradient: Of the loss at ``params``.

    Returns:
        A tree like ``params`` with a leading axis, one product a scale.
    """
    check_fits(symmetry, params)
    # D acts on the gradient as on the parameters, and does not look at their values.
    return jax.tree.map(jnp.negative, scale_tangents(symmetry, gradient))


def _two_layers(params, layer):
    """Layers l and l + 1.

    Raises:
        ValueError: If there are none.
    """
    if not isinstance(layer, int) or not 0 <= layer < len(params) - 1:
        raise ValueError(
            f"layer must be an integer in 0..{len(params) - 2}, got {layer!r}"
        )
    return params[layer], params[layer + 1]


def _with_layers(params, layer, first, second):
    """The layers with two of them replaced."""
    return type(params)((*params[:layer], first, second, *params[layer + 2 :]))
