"""Numbers that are not finite: which examples they come from."""

from collections.abc import Callable, Iterable
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


def check_outputs(parts: Iterable[tuple[str, int, Any]]) -> None:
    """Refuse outputs that are not finite; those that are traced pass.

    Args:
        parts: What the inputs are called, the number of the first example there, and
            what `outputs_are_finite` says.

    Raises:
        ValueError: If there are such outputs; the message names examples.
    """
    wrong: dict[str, set[int]] = {}
    for name, first, finite in parts:
        if not is_traced(finite):
            (rows,) = np.nonzero(~np.asarray(finite))
            wrong.setdefault(name, set()).update((rows + first).tolist())
    if any(wrong.values()):
        raise ValueError(
            f"apply must give finite outputs, got others for {_say(wrong)}"
        )


def check_kernel(
    kernel: Any, names: tuple[str, str], firsts: tuple[int, int] = (0, 0)
) -> None:
    """Refuse a kernel that is not finite though the outputs are; a traced one passes.

    Args:
        kernel: ``(n1, n2, ...)``.
        names: What the inputs are called along its first two axes.
        firsts: The numbers of the first examples there.

    Raises:
        ValueError: If there are such numbers; the message names examples.
    """
    where_it_is = np if isinstance(kernel, np.ndarray) else jnp
    if is_traced(kernel) or where_it_is.isfinite(kernel).all():
        return
    pairs = ~np.isfinite(np.asarray(kernel, np.float64))
    pairs = pairs.reshape(*kernel.shape[:2], -1).any(-1)
    wrong: dict[str, set[int]] = {}
    # An example without derivatives spoils all of its row, or of its column.
    for axis, (name, first) in enumerate(zip(names, firsts, strict=True)):
        (rows,) = np.nonzero(pairs.all(1 - axis))
        wrong.setdefault(name, set()).update((rows + first).tolist())
    if any(wrong.values()):
        where = _say(wrong)
    else:
        i, j = (np.argwhere(pairs)[0] + firsts).tolist()
        where = f"the pair {names[0]}[{i}], {names[1]}[{j}]"
    raise ValueError(
        f"the kernel must be finite, got other numbers for {where}: there the outputs "
        "of apply are finite, but their derivatives, or products of them, are not"
    )


def _say(examples: dict[str, set[int]]) -> str:
    """Some examples in words."""
    parts = []
    for name, rows in examples.items():
        if rows:
            shown = ", ".join(map(str, sorted(rows)[:SHOWN]))
            more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
            parts.append(f"examples {shown}{more} of {name}")
    return " and ".join(parts)
