"""Numbers that are not finite: which examples they come from."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.train.drive import is_traced
from jaxdl.types import Array

SHOWN = 5  # examples that a message names


def outputs_are_finite(
    outputs_of: Callable[[list[Array], Any], Array],
    leaves: list[Array],
    x: Any,
    block_size: int | None = None,
) -> Array:
    """Whether all outputs of each example are finite.

    Args:
        outputs_of: ``outputs_of(leaves, x)``, the ``(k,)`` outputs of one example.
        leaves: All parameters.
        x: Pytree of arrays with n examples along the first axis.
        block_size: Examples at a time; None for all.

    Returns:
        ``(n,)`` booleans.
    """

    def of_example(x):
        return jnp.all(jnp.isfinite(outputs_of(leaves, x)))

    if block_size is None or block_size >= jax.tree.leaves(x)[0].shape[0]:
        return jax.vmap(of_example)(x)
    return jax.lax.map(of_example, x, batch_size=block_size)


def check_outputs(finite: dict[str, Any], first: dict[str, int] | None = None) -> None:
    """Refuse outputs that are not finite; those that are traced pass.

    Args:
        finite: By the name of the inputs, from `outputs_are_finite`.
        first: By name, the number of the first example there; 0 where not given.

    Raises:
        ValueError: If there are such outputs; the message names examples.
    """
    wrong = []
    for name, values in finite.items():
        if is_traced(values):
            continue
        (rows,) = np.nonzero(~np.asarray(values))
        if rows.size:
            wrong.append(_say(name, rows + (first or {}).get(name, 0)))
    if wrong:
        raise ValueError(
            f"apply must give finite outputs, got others for {' and '.join(wrong)}"
        )


def check_kernels(
    kernels: list[Array], symmetric: bool, first: dict[str, int] | None = None
) -> None:
    """Refuse kernels that are not finite though the outputs are; traced ones pass.

    Args:
        kernels: Each ``(n1, n2, ...)``.
        symmetric: Whether both batches are ``x1``.
        first: As in `check_outputs`.

    Raises:
        ValueError: If there are such numbers; the message names examples.
    """
    for kernel in kernels:
        if is_traced(kernel) or bool(jnp.all(jnp.isfinite(kernel))):
            continue
        wrong = ~np.isfinite(np.asarray(kernel, np.float64))
        wrong = wrong.reshape(*kernel.shape[:2], -1).any(-1)
        offset = first or {}
        # An example without derivatives spoils all of its row, or of its column.
        found = []
        for name, axis in (("x1", 1), ("x2", 0)):
            (rows,) = np.nonzero(wrong.all(axis))
            if rows.size and not (symmetric and name == "x2"):
                found.append(_say(name, rows + offset.get(name, 0)))
        i, j = np.argwhere(wrong)[0]
        i, j = i + offset.get("x1", 0), j + offset.get("x1" if symmetric else "x2", 0)
        raise ValueError(
            "apply must have finite derivatives, got others for "
            f"{' and '.join(found) or f'the pair ({i}, {j})'}; its outputs are finite"
        )


def _say(name, rows):
    """Some examples in words."""
    shown = ", ".join(str(row) for row in rows[:SHOWN])
    more = f" and {rows.size - SHOWN} more" if rows.size > SHOWN else ""
    return f"{name}[{shown}]{more}"
