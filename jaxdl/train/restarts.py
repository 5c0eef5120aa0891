"""Train from several random starts, and take the best."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.train.drive import Fit
from jaxdl.types import Key, Params


def restarts(
    key: Key, members: int, init: Callable[[Key], Params]
) -> tuple[Key, Params]:
    """Keys and initial parameters of the members of an ensemble.

    Member i depends on the key and on i alone, so that more restarts contain the fewer.

    Args:
        key: PRNG key.
        members: How many, ``>= 1``.
        init: ``init(key)``, the parameters of one.

    Returns:
        The first two arguments that differ between members in
        `jaxdl.train.fit_ensemble`: ``(m,)`` keys to train with, and parameters with a
        leading axis of m members.

    Raises:
        ValueError: If ``members`` is not positive.
    """
    if members < 1:
        raise ValueError(f"members must be a positive integer, got {members}")

    def member(i):
        init_key, fit_key = jax.random.split(jax.random.fold_in(key, i))
        return fit_key, init(init_key)

    return jax.vmap(member)(jnp.arange(members))


def best_of(run: Fit, metric: str = "loss", *, maximize: bool = False) -> Fit:
    """The member of an ensemble with the least value of a metric.

    A member counts by the record of the parameters it came to: the best record under
    early stopping, else the last. Where that is NaN, as after a failure, the member is
    not eligible. Of more members the best is as good or better. Chosen on test data,
    it is biased downwards, the more so the more members there are.

    Args:
        run: From `jaxdl.train.fit_ensemble`; concrete, not traced.
        metric: A name in the history, whose records are scalars.
        maximize: Whether the most is the best.

    Returns:
        The run of that member, with no member axis.

    Raises:
        ValueError: If there is no such metric, or no member is eligible.
    """
    if metric not in run.history:
        raise ValueError(f"metric must be one of {sorted(run.history)}, got {metric!r}")
    records = np.asarray(run.history[metric])
    if records.ndim != 2:
        raise ValueError(
            f"metric {metric!r} must be (m, r), a scalar for each member and record, "
            f"got {records.shape}"
        )
    best_step = np.asarray(run.best_step)
    at = np.where(best_step > 0, best_step, np.asarray(run.steps)[-1])
    column = np.searchsorted(np.asarray(run.steps), at)
    values = records[np.arange(len(records)), column]
    if np.isnan(values).all():
        raise ValueError(f"no member has a value of {metric!r}: all failed or are NaN")
    best = int(np.nanargmax(values) if maximize else np.nanargmin(values))

    def one(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf[best], tree)

    return Fit(**{
        name: value if name == "steps" else one(value)
        for name, value in run._asdict().items()
    })
