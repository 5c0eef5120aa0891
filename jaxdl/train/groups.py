"""Metrics of sub-populations: one mean for each group of examples."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.types import Array


class Ratio(NamedTuple):
    """A mean that is not yet divided, so that batches can be pooled.

    In a metric of `jaxdl.train.fit` both parts are averaged over the updates of a
    record before they are divided, and the history holds the quotient.
    """

    total: Array  # sum, or mean over a batch, of value x membership
    weight: Array  # the same of the membership; of the shape of ``total``


class ByGroup(NamedTuple):
    """A metric to be averaged over each group of examples; from `by_group`."""

    metric: Callable[[Any, Any], Array]
    n_groups: int


def by_group(metric: Callable[[Any, Any], Array], n_groups: int) -> ByGroup:
    """Average a metric over each of k groups of examples.

    For `jaxdl.train.supervised` and `jaxdl.train.evaluator`, whose data are then
    ``(x, y, groups)`` with an integer group 0..k-1 for each example. An example with
    another number is in no group.

    Args:
        metric: ``metric(outputs, y) -> ()`` of one example, such as
            `jaxdl.losses.misclassified`.
        n_groups: The number of groups k.

    Returns:
        The metric, whose values are ``(k,)``; NaN where a group has no example, in
        all of the updates of a record. Over these updates examples are pooled, so
        that each counts the same.

    Raises:
        ValueError: If ``n_groups`` is not a positive integer.

    Examples:
        >>> from jaxdl import losses, train
        >>> evaluate = train.evaluator(
        ...     jnp.multiply, of_group=by_group(losses.squared_error, 3)
        ... )
        >>> x, y, groups = jnp.array([1.0, 2, 3]), jnp.zeros(3), jnp.array([0, 2, 2])
        >>> print(evaluate(2.0, None, (x, y, groups))["of_group"])
        [ 2. nan 13.]
    """
    if not isinstance(n_groups, int) or n_groups < 1:
        raise ValueError(f"n_groups must be a positive integer, got {n_groups!r}")
    return ByGroup(metric, n_groups)


def group_means(values: Array, groups: Array, n_groups: int) -> Array:
    """The mean of the values of each group.

    Args:
        values: ``(n,)``, one an example.
        groups: ``(n,)`` integers 0..k-1; others are in no group.
        n_groups: The number of groups k; static.

    Returns:
        ``(k,)`` in the dtype of ``values``, or float if they are integers; NaN for a
        group without an example. A NaN among the values makes its own group NaN.

    Raises:
        ValueError: If the shapes or dtypes are not these.

    Examples:
        >>> print(group_means(jnp.array([1.0, 2.0, 6.0]), jnp.array([0, 2, 2]), 3))
        [ 1. nan  4.]
    """  # noqa: DOC502 - group_ratio raises it
    return divide(group_ratio(values, groups, n_groups))


def group_ratio(values: Array, groups: Array, n_groups: int) -> Ratio:
    """`group_means` before the division: parts that are means over all examples.

    Args:
        values: As in `group_means`.
        groups: As in `group_means`.
        n_groups: As in `group_means`.

    Returns:
        ``(k,)`` twice.

    Raises:
        ValueError: If the shapes or dtypes are not those of `group_means`.
    """
    values, groups = jnp.asarray(values), jnp.asarray(groups)
    if values.ndim != 1 or groups.shape != values.shape:
        raise ValueError(
            f"expected values (n,) and groups (n,), got {values.shape} and "
            f"{groups.shape}"
        )
    if not jnp.issubdtype(groups.dtype, jnp.integer):
        raise ValueError(f"groups must be integers, got dtype {groups.dtype}")
    if not jnp.issubdtype(values.dtype, jnp.floating):
        values = values.astype(float)
    member = groups[:, None] == jnp.arange(n_groups)[None]
    total = jnp.mean(jnp.where(member, values[:, None], 0), axis=0)
    return Ratio(total, jnp.mean(member, axis=0, dtype=values.dtype))


def divide(metrics: Any) -> Any:
    """Replace each `Ratio` by its quotient, NaN where the weight is zero.

    Args:
        metrics: A `Ratio`, or a tree with some among its leaves.

    Returns:
        A tree of arrays.
    """
    return jax.tree.map(
        lambda leaf: leaf.total / leaf.weight if isinstance(leaf, Ratio) else leaf,
        metrics,
        is_leaf=lambda leaf: isinstance(leaf, Ratio),
    )
