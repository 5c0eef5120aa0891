"""Train many members as one compiled program."""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl.train.drive import Callback, Fit, Host, drive, is_traced
from jaxdl.train.early_stopping import EarlyStopping
from jaxdl.train.plan import make_plan
from jaxdl.train.sampling import Sampler, epoch_batches
from jaxdl.train.steps import Evaluate, Inputs, Loss, Optimizer, advance, begin, made
from jaxdl.types import Array, Key, Params


def fit_ensemble(
    keys: Key,
    loss: Loss,
    params: Params,
    optimizer: Optimizer | Callable[..., Optimizer],
    data: Any,
    *,
    steps: int,
    hyperparameters: tuple | dict[str, Any] | None = None,
    data_axes: int | tuple | None = None,
    batch_size: int | None = None,
    sampler: Sampler = epoch_batches,
    rows: Array | None = None,
    state: Any = None,
    evaluate: Evaluate | None = None,
    held_out: Any = None,
    held_out_axes: int | tuple | None = None,
    record_every: int = 1,
    early_stopping: EarlyStopping | None = None,
    chunk: int = 1000,
    progress: bool | Callable[[int], object] = False,
    callback: Callback | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Fit:
    """Train m members at once: `jaxdl.train.fit` under ``vmap``, with a host.

    Members differ in their key, and in whatever else has a member axis: initial
    parameters, also of networks of different widths (see `jaxdl.models.mlp`),
    hyperparameters, data, or the rows they train on. A member that fails or stops early
    stays where it is while the others go on; training stops when none does.

    Args:
        keys: ``(m,)`` PRNG keys.
        loss: As in `fit`, for one member.
        params: Tree whose leaves have a leading axis of m members.
        optimizer: As in `fit`; or, with ``hyperparameters``, what makes one of them,
            such as `jaxdl.optim.adam`. Of the same function made twice, such as a
            lambda, programs are compiled twice.
        data: As in `fit`; leaves that differ between members have a member axis.
        steps: As in `fit`.
        hyperparameters: Arguments of ``optimizer``, a tuple by position or a dict by
            name: arrays with a leading axis of m members.
        data_axes: Where in ``data`` the member axis is: None where members share,
            else its number; one entry, or a tuple that matches the tuple ``data``.
        batch_size: As in `fit`; each member draws its own batches.
        sampler: As in `fit`.
        rows: ``(m, r)`` integers, the examples of each member, such as
            `jaxdl.train.bootstrap_rows` draws for bagging; None for all. Members share
            the data, of which only their batches are copied.
        state: Tree whose leaves have a leading axis of m members, or None.
        evaluate: As in `fit`, for one member.
        held_out: As in `fit`; leaves that differ between members have a member axis.
        held_out_axes: As ``data_axes``, for ``held_out``.
        record_every: As in `fit`.
        early_stopping: As in `fit`, for each member by itself.
        chunk: As in `fit`.
        progress: As in `fit`.
        callback: As in `fit`; its snapshot holds all members.
        checkpoint: As in `fit`.

    Returns:
        As of `fit`, with the member axis first in all but ``steps``.

    Raises:
        ValueError: If the sizes do not fit each other, or the checkpoint is damaged
            or of another run.

    Examples:
        Three learning rates, of which the last is too large:

        >>> from jaxdl import optim
        >>> def loss(w, state, batch, key):
        ...     return jnp.mean((batch - w) ** 2) / 2, (state, {})
        >>> run = fit_ensemble(
        ...     jax.random.split(jax.random.key(0), 3), loss, jnp.zeros(3), optim.sgd,
        ...     jnp.arange(5.0), steps=10,
        ...     hyperparameters={"learning_rate": jnp.array([0.1, 1.0, 2.5])},
        ... )
        >>> for final in run.history["loss"][:, -1]:
        ...     print(f"{final:.1f}")
        1.3
        1.0
        2956.8
    """
    if jnp.ndim(keys) != 1:
        raise ValueError(f"keys must be (m,), one a member, got {jnp.shape(keys)}")
    members = keys.shape[0]
    own = {
        "params": params,
        "state": state,
        "rows": rows,
        "hyperparameters": hyperparameters,
    }
    for name, tree in own.items():
        for leaf in jax.tree.leaves(tree):
            if jnp.shape(leaf)[:1] != (members,):
                raise ValueError(
                    f"{name} must have a leading axis of {members} members, "
                    f"got a leaf of shape {jnp.shape(leaf)}"
                )
    plan = make_plan(
        loss,
        optimizer,
        evaluate,
        steps=steps,
        batch_size=batch_size,
        sampler=sampler,
        record_every=record_every,
        early_stopping=early_stopping,
        data=jax.eval_shape(partial(_first_member, data_axes), data),
        rows=jax.eval_shape(partial(_first_member, 0), rows),
        example=_check_hyperparameters(optimizer, hyperparameters, members),
    )
    axes = Inputs._make((data_axes, held_out_axes, 0, 0, 0))
    inputs = Inputs(data, held_out, keys, rows, hyperparameters)
    return drive(
        partial(_advance, plan, axes),
        plan,
        jax.vmap(partial(begin, plan))(params, state, hyperparameters),
        inputs,
        Host(chunk, progress, callback, checkpoint),
        record_axis=1,
    )


@partial(jax.jit, static_argnums=(0, 1, 2))
def _advance(plan, axes, n_records, carry, inputs):
    """`advance` of all members."""
    return jax.vmap(partial(advance, plan, n_records), in_axes=(0, axes))(carry, inputs)


def _check_hyperparameters(optimizer: Any, hyperparameters: Any, members: int) -> Any:
    """The optimizer of the first member, having let it see the numbers of each.

    An optimizer checks numbers of Python, but not arrays, which may be traced.
    """
    if hyperparameters is None:
        return optimizer
    if not is_traced(hyperparameters):
        host = jax.device_get(hyperparameters)
        for member in range(members):
            own = jax.tree.map(lambda a, m=member: _number(a[m]), host)
            made(optimizer, own)
    return made(optimizer, jax.tree.map(lambda a: a[0], hyperparameters))


def _number(array):
    """A number of Python, if it is one."""
    return array.item() if array.ndim == 0 else array


def _first_member(axes, data):
    """The data of one member, for its shapes."""

    def first(axis, leaves):
        if axis is None:
            return leaves
        return jax.tree.map(lambda a: jnp.take(a, 0, axis), leaves)

    return jax.tree.map(first, axes, data, is_leaf=lambda axis: axis is None)
