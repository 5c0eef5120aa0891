"""Exact kernels of a function with finitely many parameters."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl.ntk import jacobian, products, structured
from jaxdl.ntk.blocks import in_blocks
from jaxdl.ntk.finite import check_kernel, check_outputs, outputs_are_finite
from jaxdl.ntk.precision import cast, chosen, mode
from jaxdl.ntk.problem import Problem, check_choice, pose
from jaxdl.ntk.symmetry import mirror
from jaxdl.train.drive import is_traced
from jaxdl.types import Array, Params

METHODS = {
    "auto": structured.cheapest,
    "jacobian": jacobian.kernels,
    "products": products.kernels,
    "structured": structured.kernels,
}


def empirical_ntk(
    apply: Callable[[Params, Any], Any],
    params: Params,
    x1: Any,
    x2: Any = None,
    *,
    outputs: str = "full",
    method: str = "auto",
    block_size: int | None = None,
    where: Any = None,
    dtype: Any = None,
) -> Array:
    """The tangent kernel of any function at its parameters.

    With f the k outputs of ``apply``, flattened, and a sum over all parameters that
    count::

        Theta[i, j, a, b] = sum_p df_a(x1_i)/dp df_b(x2_j)/dp

    All methods give the same numbers. Not compiled here: call it under ``jax.jit``
    if it is called more than once, or on much.

    Args:
        apply: ``apply(params, x)`` for ONE example, an array or a pytree of arrays
            (also of integers, such as tokens), to outputs of any shape: a real array,
            or a pytree of them, flattened in the order of ``jax.tree.leaves``.
        params: Pytree of arrays; real where they count.
        x1: ``(n1, ...)``, or a pytree of such arrays.
        x2: ``(n2, ...)`` likewise, or None for ``x1``: half of the work, and exactly
            symmetric.
        outputs: ``"full"``; ``"diagonal"``, the entries a = b; or ``"trace"``, their
            mean. The last two never hold what the first returns.
        method: ``"jacobian"`` contracts Jacobians. ``"products"`` takes a column at a
            time and holds none; ``apply`` must have forward derivatives.
            ``"structured"`` takes the cheapest rule for each use of a parameter.
            ``"auto"`` chooses by cost.
        block_size: Rows and columns of the blocks in which the kernel is computed, to
            bound the memory; None for one block.
        where: None, or a prefix of the tree ``params`` with booleans: which
            parameters count. The others are constants.
        dtype: float64 to compute in double precision even where JAX is set to 32
            bits: parameters and inputs are converted first. None for what they are.

    Returns:
        ``(n1, n2, k, k)``, ``(n1, n2, k)`` or ``(n1, n2)``, in the dtype of the
        outputs, but at least float32. In float32, the smallest eigenvalues of a
        kernel are rounding errors and can be negative: ask for float64 before a
        solve.

    Raises:
        ValueError: If ``apply`` takes no single example; if its outputs, or
            derivatives, are not finite (where they are not traced) or not real; if
            parameters that count are integers or complex, or there are none; if
            ``x1`` and ``x2`` are empty or do not fit together; or if ``outputs``,
            ``method``, ``block_size``, ``where`` or ``dtype`` is not as said.

    References:
        Jacot, Gabriel, Hongler (2018), Neural tangent kernel: convergence and
        generalization in neural networks. https://arxiv.org/abs/1806.07572

    Examples:
        >>> import jax.numpy as jnp
        >>> def apply(params, x):
        ...     return params["scale"] * jnp.sin(params["frequency"] * x)
        >>> params = {"scale": 2.0, "frequency": 0.0}
        >>> print(empirical_ntk(apply, params, jnp.array([1.0, 3.0]), outputs="trace"))
        [[ 4. 12.]
         [12. 36.]]
    """  # noqa: DOC502 - the functions it calls raise it
    check_choice("method", method, tuple(METHODS))
    with mode(dtype := chosen(dtype)):
        problem = _pose(apply, params, x1, x2, outputs, block_size, where, dtype)
        (kernel,) = _kernels(problem, [problem.selected], outputs, method, block_size)
    return kernel


def empirical_ntk_per_layer(
    apply: Callable[[Params, Any], Any],
    params: Params,
    x1: Any,
    x2: Any = None,
    *,
    outputs: str = "full",
    method: str = "auto",
    block_size: int | None = None,
    where: Any = None,
    dtype: Any = None,
) -> dict[str, Array]:
    """The tangent kernel of each layer; their sum is the whole kernel.

    A layer is the parameters whose paths differ in the last key only, such as the
    weights and the bias of ``{"dense": {"kernel": ..., "bias": ...}}``.

    Args:
        apply: As in `empirical_ntk`, as all that follows.
        params: Pytree of arrays.
        x1: ``(n1, ...)``, or a pytree of such arrays.
        x2: ``(n2, ...)`` likewise, or None for ``x1``.
        outputs: ``"full"``, ``"diagonal"`` or ``"trace"``.
        method: ``"auto"``, ``"jacobian"``, ``"products"`` or ``"structured"``.
        block_size: Rows and columns of a block, or None.
        where: None, or which parameters count.
        dtype: None, or float64 for double precision.

    Returns:
        From the path of the layer, its keys joined by ``/``, to its kernel. A leaf at
        the top is a layer of its own.

    Raises:
        ValueError: As in `empirical_ntk`.

    Examples:
        >>> import jax.numpy as jnp
        >>> def apply(params, x):
        ...     dense = params["dense"]
        ...     return params["scale"] * (x @ dense["kernel"] + dense["bias"])
        >>> params = {"dense": {"kernel": jnp.ones(2), "bias": 0.0}, "scale": 2.0}
        >>> kernels = empirical_ntk_per_layer(
        ...     apply, params, jnp.ones((1, 2)), outputs="trace"
        ... )
        >>> print({name: float(kernel[0, 0]) for name, kernel in kernels.items()})
        {'dense': 12.0, 'scale': 4.0}
    """  # noqa: DOC502 - the functions it calls raise it
    check_choice("method", method, tuple(METHODS))
    with mode(dtype := chosen(dtype)):
        problem = _pose(apply, params, x1, x2, outputs, block_size, where, dtype)
        groups = list(problem.layers.values())
        kernels = _kernels(problem, groups, outputs, method, block_size)
    return dict(zip(problem.layers, kernels, strict=True))


def empirical_nngp(
    apply: Callable[[Params, Any], Any],
    params: Params,
    x1: Any,
    x2: Any = None,
    *,
    outputs: str = "full",
    block_size: int | None = None,
    dtype: Any = None,
) -> Array:
    """The products of a function's outputs.

    ``K[i, j, a, b] = f_a(x1_i) f_b(x2_j)``. Averaged over draws of the parameters of
    a wide network, this is the covariance of its outputs at initialization.

    Args:
        apply: ``apply(params, x)`` for ONE example, as in `empirical_ntk`.
        params: What ``apply`` takes; a pytree of arrays.
        x1: ``(n1, ...)``, or a pytree of such arrays.
        x2: ``(n2, ...)`` likewise, or None for ``x1``.
        outputs: ``"full"``; ``"diagonal"``, the entries a = b; or ``"trace"``, their
            mean.
        block_size: Examples whose outputs are computed at a time; None for all.
        dtype: None, or float64 for double precision.

    Returns:
        ``(n1, n2, k, k)``, ``(n1, n2, k)`` or ``(n1, n2)``, in the dtype of the
        outputs, but at least float32.

    Raises:
        ValueError: As in `empirical_ntk`.

    Examples:
        >>> import jax.numpy as jnp
        >>> x = jnp.array([[1.0, 2.0], [3.0, 4.0]])
        >>> print(empirical_nngp(lambda w, x: w * x, 1.0, x, outputs="trace"))
        [[ 2.5  5.5]
         [ 5.5 12.5]]
    """  # noqa: DOC502 - the functions it calls raise it
    with mode(dtype := chosen(dtype)), jax.default_matmul_precision("highest"):
        problem = _pose(apply, params, x1, x2, outputs, block_size, None, dtype, False)
        f1 = _outputs(problem, "x1", problem.x1, block_size)
        f2 = f1 if x2 is None else _outputs(problem, "x2", problem.x2, block_size)
        if outputs == "full":
            return jnp.einsum("ia,jb->ijab", f1, f2)
        if outputs == "diagonal":
            return jnp.einsum("ia,ja->ija", f1, f2)
        kernel = f1 @ f2.T / problem.k
        return mirror(kernel) if x2 is None else kernel


def kernels_of(
    problem: Problem, groups: Sequence[Sequence[int]], outputs: str, method: str
) -> Callable[[list[Array], Any, Any], list[Array]]:
    """The function of two blocks of inputs that a method makes of a problem.

    Args:
        problem: What is asked; its parameters and inputs are not used.
        groups: Positions of leaves, one group a kernel.
        outputs: full, diagonal or trace.
        method: A key of `METHODS`.

    Returns:
        ``kernels(leaves, x1, x2)``, one array a group, in the problem's dtype.
    """
    chosen = tuple(tuple(group) for group in groups)

    def kernels(leaves, x1, x2):
        found = METHODS[method](problem.outputs_of, leaves, chosen, x1, x2, outputs)
        return [kernel.astype(problem.dtype) for kernel in found]

    return kernels


def _pose(
    apply, params, x1, x2, outputs, block_size, where, dtype, differentiated=True
):
    """The problem, with its inputs as arrays of JAX."""
    params, x1, x2 = cast((params, x1, x2), dtype)
    x1, x2 = (jax.tree.map(jnp.asarray, x) for x in (x1, x2))
    return pose(
        apply, params, x1, x2, outputs, block_size, where,
        differentiated=differentiated,
    )  # fmt: skip


def _kernels(problem, groups, outputs, method, block_size):
    """One kernel a group, checked."""
    names = ("x1", "x1" if problem.x2 is None else "x2")
    batches = [problem.x1] if problem.x2 is None else [problem.x1, problem.x2]
    if not is_traced((problem.leaves, batches)):
        check_outputs(
            (
                name,
                0,
                outputs_are_finite(problem.outputs_of, problem.leaves, x, block_size),
            )
            for name, x in zip(names, batches, strict=False)
        )
    kernels = partial(kernels_of(problem, groups, outputs, method), problem.leaves)
    found = in_blocks(kernels, problem.x1, problem.x2, block_size)
    for kernel in found:
        check_kernel(kernel, names)
    return found


def _outputs(problem, name, x, block_size):
    """``(n, k)``, checked."""

    def of_example(x):
        return problem.outputs_of(problem.leaves, x).astype(problem.dtype)

    if block_size is None:
        outputs = jax.vmap(of_example)(x)
    else:
        outputs = jax.lax.map(of_example, x, batch_size=block_size)
    check_outputs([(name, 0, jnp.isfinite(outputs).all(1))])
    return outputs
