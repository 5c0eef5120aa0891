"""Train many members as one compiled program."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl.train.fit import Callback, Fit, drive, make_plan
from jaxdl.train.steps import Evaluate, Loss, Optimizer, advance, begin
from jaxdl.types import Key, Params


def fit_ensemble(
    keys: Key,
    loss: Loss,
    params: Params,
    optimizer: Optimizer,
    data: Any,
    *,
    steps: int,
    data_axes: int | tuple | None = None,
    batch_size: int | None = None,
    state: Any = None,
    evaluate: Evaluate | None = None,
    held_out: Any = None,
    held_out_axes: int | tuple | None = None,
    record_every: int = 1,
    chunk: int = 1000,
    progress: bool | Callable[[int], object] = False,
    callback: Callback | None = None,
) -> Fit:
    """Train m members at once: `jaxdl.train.fit` under ``vmap``, with a host.

    A member that fails stays at its last finite parameters while the others go on;
    training stops when all have failed.

    Args:
        keys: ``(m,)`` PRNG keys.
        loss: As in `fit`, for one member.
        params: Tree whose leaves have a leading axis of m members.
        optimizer: As in `fit`.
        data: As in `fit`; leaves that differ between members have a member axis.
        steps: As in `fit`.
        data_axes: Where in ``data`` the member axis is: None where members share,
            else its number; one entry, or a tuple that matches the tuple ``data``.
        batch_size: As in `fit`; each member draws its own batches.
        state: Tree whose leaves have a leading axis of m members, or None.
        evaluate: As in `fit`, for one member.
        held_out: As in `fit`; leaves that differ between members have a member axis.
        held_out_axes: As ``data_axes``, for ``held_out``.
        record_every: As in `fit`.
        chunk: As in `fit`.
        progress: As in `fit`.
        callback: As in `fit`; its snapshot holds all members.

    Returns:
        As of `fit`, with the member axis first in all but ``steps``.

    Raises:
        ValueError: If the sizes do not fit each other.
    """
    if jnp.ndim(keys) != 1:
        raise ValueError(f"keys must be (m,), one a member, got {jnp.shape(keys)}")
    members = keys.shape[0]
    for leaf in jax.tree.leaves((params, state)):
        if jnp.shape(leaf)[:1] != (members,):
            raise ValueError(
                f"params and state must have a leading axis of {members} members, "
                f"got a leaf of shape {jnp.shape(leaf)}"
            )
    one = jax.eval_shape(partial(_first_member, data_axes), data)
    plan = make_plan(loss, optimizer, evaluate, steps, batch_size, record_every, one)
    axes = (0, data_axes, held_out_axes, 0)
    carry = jax.vmap(lambda p, s: begin(p, s, optimizer))(params, state)
    return drive(
        lambda n, carry: _advance(plan, n, axes, carry, data, held_out, keys),
        plan,
        carry,
        chunk=chunk,
        progress=progress,
        callback=callback,
        record_axis=1,
    )


@partial(jax.jit, static_argnums=(0, 1, 2))
def _advance(plan, n_records, axes, *arrays):
    """`advance` of all members."""
    return jax.vmap(partial(advance, plan, n_records), in_axes=axes)(*arrays)


def _first_member(data_axes, data):
    """The data of one member, for its shapes."""

    def first(axis, leaves):
        if axis is None:
            return leaves
        return jax.tree.map(lambda a: jnp.take(a, 0, axis), leaves)

    return jax.tree.map(first, data_axes, data, is_leaf=lambda axis: axis is None)
