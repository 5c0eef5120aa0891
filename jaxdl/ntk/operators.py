"""Products with the tangent kernel, which is never formed.

The kernel of n1 and n2 examples is ``J1 J2^T``, with a row of J for each output of each
example and a column for each parameter. A product goes through the parameters: back
with ``J2^T``, forward with J1.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl import tree
from jaxdl.curvature.batches import linearized
from jaxdl.curvature.operators import LinearOperator, Rule, on_space_of
from jaxdl.ntk.kernels import known_not_finite
from jaxdl.ntk.one_example import Apply, examine, flat
from jaxdl.types import Array, Params

_NOT_FINITE = (
    "apply must be finite and have finite gradients at these params and examples, "
    "got NaN or infinity"
)


def ntk_vector_product(
    apply: Apply,
    params: Params,
    x1: Any,
    x2: Any,
    v: Array,
    *,
    chunk_size: int | None = None,
) -> Array:
    """The tangent kernel times a vector, without the kernel.

    ``w[i, a] = sum_j sum_b Theta[i, j, a, b] v[j, b]``, where ``Theta[i, j, a, b]`` is
    the inner product over all parameters of the gradients of output a of example
    ``x1[i]`` and output b of example ``x2[j]``. It takes one pass back and one forward,
    and memory for the activations of the examples that are done at a time.

    Args:
        apply: ``apply(params, x) -> outputs`` for one example: an array of any shape
            or a pytree of arrays, flattened to k entries.
        params: Pytree of float32 or float64 arrays.
        x1: Array or pytree of arrays with n1 examples along the first axis.
        x2: As x1, with n2 examples. None for x1 itself.
        v: ``(n2, k)``, converted to the dtype of the outputs.
        chunk_size: Examples at a time, ``>= 1``. None for all at once.

    Returns:
        ``(n1, k)`` in the dtype of the outputs.

    Raises:
        ValueError: If ``apply``, ``params``, examples and ``v`` do not fit each other,
            ``chunk_size`` is out of range, or ``apply`` or its gradients are not
            finite, where that is known: under ``jit`` the product is NaN.

    References:
        Jacot, Gabriel, Hongler (2018), Neural tangent kernel: convergence and
        generalization in neural networks. https://arxiv.org/abs/1806.07572

    Examples:
        >>> def apply(w, x):
        ...     return x * w
        >>> x = jnp.array([1.0, 2.0])  # the kernel is x x^T
        >>> print(ntk_vector_product(apply, 3.0, x, None, jnp.array([[1.0], [1.0]])))
        [[3.]
         [6.]]
    """
    if message := _not_a_size(chunk_size):
        raise ValueError(message)
    first = examine(apply, params, x1, "x1")
    second = first if x2 is None else examine(apply, params, x2, "x2")
    if (first.k, first.dtype) != (second.k, second.dtype):
        raise ValueError(
            "x1 and x2 must give outputs of the same size and dtype, got "
            f"{first.k} {first.dtype} and {second.k} {second.dtype}"
        )
    wanted = (second.n, second.k)
    if jnp.shape(v) != wanted:
        raise ValueError(f"v must have shape {wanted}, got {jnp.shape(v)}")
    v = jnp.asarray(v, first.dtype)
    params = jax.tree.map(jnp.asarray, params)
    with jax.default_matmul_precision("highest"):
        product, *outputs = _product(apply, params, x1, x2, v, chunk_size)
    steep = known_not_finite(product) and not known_not_finite(v)
    if steep or any(map(known_not_finite, outputs)):
        raise ValueError(_NOT_FINITE)
    return product


def ntk_operator(
    apply: Apply, params: Params, x: Any, *, chunk_size: int | None = None
) -> LinearOperator:
    """The tangent kernel of some examples as an operator, without forming it.

    It acts on arrays ``(n, k)`` as `ntk_vector_product` does, and is symmetric and
    positive semi-definite. What takes an operator of `jaxdl.curvature` takes it:
    eigenpairs, traces, ``conjugate_gradient(damp(operator, ridge), y)``. The outputs
    are linearized once, here, and every product reuses that; with ``chunk_size``
    each product does it anew, a chunk at a time. For the kernel of some of the
    parameters, let ``apply`` take these and close over the others.

    Args:
        apply: As in `ntk_vector_product`; define it at module level, not in a loop:
            programs are compiled anew for every function object.
        params: As in `ntk_vector_product`.
        x: Array or pytree of arrays with the n examples along the first axis.
        chunk_size: Examples at a time, ``>= 1``. None for all at once, whose
            activations are then kept.

    Returns:
        An operator on ``(n, k)`` arrays in the dtype of the outputs.

    Raises:
        ValueError: If ``apply``, ``params`` and ``x`` do not fit each other,
            ``chunk_size`` is out of range, or the outputs are known and not finite.
            With ``chunk_size`` and under ``jit`` they are not known.

    Examples:
        >>> from jaxdl.curvature import eigenpairs
        >>> def apply(w, x):
        ...     return jnp.tanh(x @ w)
        >>> x = jnp.array([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
        >>> operator = ntk_operator(apply, jnp.zeros((2, 4)), x)
        >>> pairs = eigenpairs(operator, 5, key=jax.random.key(0))
        >>> print(operator.size, abs(pairs.values.round(4)))
        12 [4. 4. 4. 4. 1.]
    """
    if message := _not_a_size(chunk_size):
        raise ValueError(message)
    outputs = examine(apply, params, x)
    params = jax.tree.map(jnp.asarray, params)
    like = jax.ShapeDtypeStruct((outputs.n, outputs.k), outputs.dtype)
    if chunk_size is None:
        rule = _Tangent(apply)
        values, *data = linearized(rule, params, x)
        if known_not_finite(values):
            raise ValueError(_NOT_FINITE)
        return on_space_of(like, data, rule)
    return on_space_of(like, (params, x), _ChunkedTangent(apply, chunk_size))


def _not_a_size(chunk_size):
    """What to say of a chunk size; empty where all is well."""
    if chunk_size is None or (
        isinstance(chunk_size, int)
        and not isinstance(chunk_size, bool)
        and chunk_size >= 1
    ):
        return ""
    return f"chunk_size must be a positive integer or None, got {chunk_size!r}"


def _product(apply, params, x1, x2, v, chunk_size):
    """Back to the parameters and forward, and the outputs met, of x1 and x2."""
    if chunk_size is not None:
        x2 = x1 if x2 is None else x2
        direction, outputs_2 = _pull(apply, params, x2, v, chunk_size)
        return *_push(apply, params, x1, direction, chunk_size), outputs_2
    outputs, forward = jax.linearize(partial(_outputs, apply, x=x1), params)
    if x2 is None:
        outputs_2, back = outputs, jax.linear_transpose(forward, params)
    else:
        outputs_2, back = jax.vjp(partial(_outputs, apply, x=x2), params)
    return forward(*back(v)), outputs, outputs_2


def _outputs(apply, params, x):
    """``(n, k)`` outputs of all examples."""
    return jax.vmap(lambda x: flat(apply(params, x)))(x)


def _push(apply, params, x, direction, chunk_size):
    """``J u`` and the outputs, a chunk of examples at a time."""

    def one(x):
        def outputs(params):
            return flat(apply(params, x))

        return jax.jvp(outputs, (params,), (direction,))[::-1]

    return jax.lax.map(one, x, batch_size=chunk_size)


def _pull(apply, params, x, v, chunk_size):
    """``J^T v`` and the outputs, a chunk of examples at a time."""
    whole, rest = divmod(len(v), chunk_size)
    start = len(v) - rest

    def accumulate(total, chunk):
        x, v = chunk
        outputs, back = jax.vjp(partial(_outputs, apply, x=x), params)
        return tree.add(total, *back(v)), outputs

    def cut(a):
        return jnp.reshape(a[:start], (whole, chunk_size, *jnp.shape(a)[1:]))

    total, found = tree.zeros_like(params), []
    if whole:
        total, outputs = jax.lax.scan(accumulate, total, jax.tree.map(cut, (x, v)))
        found.append(outputs.reshape(start, -1))
    if rest:
        chunk = jax.tree.map(lambda a: a[start:], (x, v))
        total, outputs = accumulate(total, chunk)
        found.append(outputs)
    return total, jnp.concatenate(found)


@dataclass(frozen=True)
class _Tangent(Rule):
    """``J J^T``; the data are the product with J, and the parameters."""

    apply: Apply

    def linearize(self, params, batch):
        """Keep what the outputs compute on the way."""
        outputs = partial(_outputs, self.apply, x=batch)
        return *jax.linearize(outputs, params), params

    def product(self, data, vector):
        return data[0](self._pull(data, vector))

    def form(self, data, vector):
        """``|J^T v|^2``, which needs no pass forward."""
        direction = self._pull(data, vector)
        return tree.dot(direction, direction).astype(vector.dtype)

    def _pull(self, data, vector):
        forward, params = data
        (direction,) = jax.linear_transpose(forward, params)(vector)
        return direction


@dataclass(frozen=True)
class _ChunkedTangent(Rule):
    """``J J^T``; the data are the parameters and the examples."""

    apply: Apply
    chunk_size: int

    def product(self, data, vector):
        params, x = data
        with jax.default_matmul_precision("highest"):
            direction, _ = _pull(self.apply, params, x, vector, self.chunk_size)
            return _push(self.apply, params, x, direction, self.chunk_size)[0]

    def form(self, data, vector):
        """``|J^T v|^2``, which needs no pass forward."""
        params, x = data
        with jax.default_matmul_precision("highest"):
            direction, _ = _pull(self.apply, params, x, vector, self.chunk_size)
        return tree.dot(direction, direction).astype(vector.dtype)
