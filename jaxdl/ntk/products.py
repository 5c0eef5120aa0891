"""Kernels column by column: forward mode of reverse mode, without a Jacobian."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl.ntk.symmetry import in_strips
from jaxdl.types import Array

COLUMNS = 16
"""Columns at a time; each takes a tree of parameters and a pass over ``x1``."""


def kernels(
    outputs_of: Callable[[list[Array], Any], Array],
    leaves: list[Array],
    groups: Sequence[Sequence[int]],
    x1: Any,
    x2: Any,
    outputs: str,
) -> list[Array]:
    """Kernels of groups of parameters.

    Column (j, b) is ``J1 J2^T e_jb``: the gradient of output b of example j, and then
    the derivative of all outputs of ``x1`` along it. Of a column, the diagonal and
    the trace keep output b only.

    Args:
        outputs_of: ``outputs_of(leaves, x)``, the ``(k,)`` outputs of one example;
            differentiable in forward mode.
        leaves: All parameters.
        groups: Positions of leaves, one group a kernel; the others are constants.
        x1: Pytree of arrays with n1 examples along the first axis.
        x2: The same with n2, or None for ``x1``.
        outputs: full, diagonal or trace.

    Returns:
        One kernel a group: ``(n1, n2, k, k)``, ``(n1, n2, k)`` or ``(n1, n2)``.
    """
    all_of = partial(_kernels, outputs_of, leaves, groups, outputs)
    with jax.default_matmul_precision("highest"):
        return in_strips(all_of, x1) if x2 is None else all_of(x1, x2)


def _kernels(outputs_of, leaves, groups, outputs, x1, x2):
    """Kernels between two batches."""
    return [_kernel(outputs_of, leaves, group, outputs, x1, x2) for group in groups]


def _kernel(outputs_of, leaves, group, outputs, x1, x2):
    """The kernel of one group."""

    def function(selected, x):
        mixed = list(leaves)
        for i, leaf in zip(group, selected, strict=True):
            mixed[i] = leaf
        return outputs_of(mixed, x)

    selected = [leaves[i] for i in group]
    values, push = jax.linearize(
        lambda s: jax.vmap(function, (None, 0))(s, x1), selected
    )
    k, dtype = values.shape[1], jnp.promote_types(values.dtype, jnp.float32)

    def of_example(x):
        _, pull = jax.vjp(lambda s: function(s, x), selected)

        def column(b):
            unit = (jnp.arange(k) == b).astype(values.dtype)
            found = push(*pull(unit)).astype(dtype)  # (n1, k)
            return found if outputs == "full" else found[:, b]

        columns = jax.lax.map(column, jnp.arange(k), batch_size=min(k, COLUMNS))
        return jnp.mean(columns, 0) if outputs == "trace" else columns

    by_column = jax.lax.map(of_example, x2)
    if outputs == "full":  # from (n2, k, n1, k)
        return by_column.transpose(2, 0, 3, 1)
    return jnp.moveaxis(by_column, -1, 0)  # from (n2, k, n1) or (n2, n1)
