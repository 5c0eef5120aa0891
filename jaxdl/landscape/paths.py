"""Paths between two networks, and the barriers on them."""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from jaxdl import train
from jaxdl.landscape.symmetry import check_pair
from jaxdl.train.steps import Loss
from jaxdl.types import Array, Key, Params, Scalar

Path = Callable[[Scalar], Params]
"""From t in ``[0, 1]`` to parameters; a pytree, so that it crosses ``jit``."""


class Bezier(NamedTuple):
    """A trained curve."""

    path: Path
    control: Params  # the point between the ends that was trained
    fit: train.Fit  # how it went; the loss is that at random points of the curve


class Barrier(NamedTuple):
    """How high the values on a path rise, by three definitions.

    Each field but ``t`` is a tree like what ``evaluate`` returns.
    """

    t: Array  # (points,) from 0 to 1
    values: Any  # (points,)
    height: Any  # () largest excess over the straight line between the ends' values
    above_mean: Any  # () largest value less the mean of those at the ends
    above_ends: Any  # () largest value less the larger of those at the ends
    at: Any  # () the t of the height


def linear_path(params_a: Params, params_b: Params) -> Path:
    """The straight line, ``(1 - t) a + t b``.

    Args:
        params_a: Parameters at t = 0.
        params_b: Parameters at t = 1, of the same shapes.

    Returns:
        ``path(t)``, in the dtypes of the parameters.

    Examples:
        >>> path = linear_path(jnp.array([0.0, 1.0]), jnp.array([4.0, 3.0]))
        >>> print(path(0.25))
        [1.  1.5]
    """
    check_pair(params_a, params_b)
    return Partial(_on_line, params_a, params_b)


def quadratic_path(params_a: Params, control: Params, params_b: Params) -> Path:
    """The quadratic Bezier curve, ``(1 - t)^2 a + 2 t (1 - t) c + t^2 b``.

    Args:
        params_a: Parameters at t = 0.
        control: c, which the curve is drawn to and does not reach.
        params_b: Parameters at t = 1.

    Returns:
        ``path(t)``, in the dtypes of the parameters.
    """
    check_pair(params_a, params_b)
    check_pair(params_a, control, "control")
    return Partial(_on_curve, params_a, control, params_b)


def bezier_path(
    key: Key,
    loss: Loss,
    params_a: Params,
    params_b: Params,
    optimizer: Any,
    data: Any,
    *,
    steps: int,
    control: Params | None = None,
    draws: int = 1,
    **options: Any,
) -> Bezier:
    """A quadratic Bezier curve trained to have a low loss all along.

    The control point minimizes the mean loss over t uniform in ``[0, 1]``, of which
    each step takes new draws. The ends stay where they are.

    Args:
        key: PRNG key, of batches and of t.
        loss: As in `jaxdl.train.fit`, such as `jaxdl.train.supervised` makes, of a
            network without state.
        params_a: Parameters at t = 0.
        params_b: Parameters at t = 1, matched to those at 0.
        optimizer: Of the control point, as in `jaxdl.train.fit`.
        data: As in `jaxdl.train.fit`.
        steps: Updates of the control point.
        control: Where it starts; in the middle of the line where None.
        draws: Values of t a step, ``>= 1``.
        **options: For `jaxdl.train.fit`, such as ``batch_size``.

    Returns:
        Curve, control point and the record of the training.

    Raises:
        ValueError: If shapes do not fit, or there is no draw.

    References:
        Garipov et al. (2018), Loss surfaces, mode connectivity, and fast ensembling of
        DNNs. https://arxiv.org/abs/1802.10026
    """
    check_pair(params_a, params_b)
    if not isinstance(draws, int) or draws < 1:
        raise ValueError(f"draws must be an integer >= 1, got {draws}")
    if control is None:
        control = linear_path(params_a, params_b)(0.5)
    fit = train.fit(
        key,
        _curve_loss(loss, draws),
        control,
        optimizer,
        data,
        steps=steps,
        state=(params_a, params_b),
        **options,
    )
    path = quadratic_path(params_a, fit.params, params_b)
    return Bezier(path, fit.params, fit)


def barrier(
    evaluate: Callable[[Params], Any],
    path: Path,
    *,
    points: int = 25,
    reestimate: Callable[[Params], Params] | None = None,
) -> Barrier:
    """The barrier between the ends of a path, in a loss, an error, or several at once.

    With values L(t) there are three definitions in use::

        height      max_t L(t) - ((1 - t) L(0) + t L(1))
        above_mean  max_t L(t) - (L(0) + L(1)) / 2
        above_ends  max_t L(t) - max(L(0), L(1))

    The first, by Entezari et al., is never negative, and zero for a line in a convex
    landscape; the second, by Frankle et al. and by Ainsworth et al., is the same where
    the ends are equal and at least half their difference where they are not. The
    maximum is over points of the path, so what lies between them is not seen.

    Args:
        evaluate: ``evaluate(params)``, a scalar or a tree of scalars, such as the loss
            and the error of a set of examples.
        path: Such as `linear_path` of one network and another matched to it.
        points: How many equal steps of t, with both ends, ``>= 3``.
        reestimate: ``reestimate(params) -> params`` is applied to each point before it
            is evaluated, ends and all: it sets the statistics of batch normalization to
            those of data. Between two networks they are not the mean of the ends', and
            the barrier is largely due to that.

    Returns:
        Values and barriers.

    Raises:
        ValueError: If there are fewer than three points.

    References:
        Frankle, Dziugaite, Roy, Carbin (2020), Linear mode connectivity and the lottery
        ticket hypothesis. https://arxiv.org/abs/1912.05671.
        Entezari, Sedghi, Saukh, Neyshabur (2022), The role of permutation invariance in
        linear mode connectivity of neural networks. https://arxiv.org/abs/2110.06296.
        Jordan et al. (2023), REPAIR: renormalizing permuted activations for
        interpolation repair. https://arxiv.org/abs/2211.08403

    Examples:
        >>> path = linear_path(jnp.array(-1.0), jnp.array(1.0))
        >>> found = barrier(lambda w: (w**2 - 1) ** 2 + w, path, points=5)
        >>> print(found.height, found.above_mean, found.above_ends, found.at)
        1.0 1.0625 0.0625 0.5
    """
    if not isinstance(points, int) or points < 3:
        raise ValueError(f"points must be an integer >= 3, got {points}")
    t = jnp.linspace(0, 1, points)

    def at(t):
        params = path(t)
        return evaluate(params if reestimate is None else reestimate(params))

    values = jax.lax.map(at, t)

    def excess(v):
        steps = t.astype(v.dtype)
        return v - ((1 - steps) * v[0] + steps * v[-1])

    def each(function):
        return jax.tree.map(function, values)

    return Barrier(
        t=t,
        values=values,
        height=each(lambda v: jnp.max(excess(v))),
        above_mean=each(lambda v: jnp.max(v) - (v[0] + v[-1]) / 2),
        above_ends=each(lambda v: jnp.max(v) - jnp.maximum(v[0], v[-1])),
        at=each(lambda v: t[jnp.argmax(excess(v))]),
    )


def _on_line(params_a, params_b, t):
    """A point of the straight line; its ends exactly."""
    return jax.tree.map(
        lambda a, b: ((1 - t) * a + t * b).astype(a.dtype), params_a, params_b
    )


def _on_curve(params_a, control, params_b, t):
    """A point of the curve."""
    return jax.tree.map(
        lambda a, c, b: ((1 - t) ** 2 * a + 2 * t * (1 - t) * c + t**2 * b).astype(
            a.dtype
        ),
        params_a,
        control,
        params_b,
    )


@cache
def _curve_loss(loss: Loss, draws: int) -> Loss:
    """The loss of a control point, whose state are the ends; one object for each loss.

    So programs are compiled once for all pairs of networks.
    """

    def curve_loss(control, state, batch, key):
        t_key, loss_key = jax.random.split(key)
        params_a, params_b = state

        def at(t):
            value, (_, metrics) = loss(
                _on_curve(params_a, control, params_b, t), None, batch, loss_key
            )
            return value, metrics

        values, metrics = jax.vmap(at)(jax.random.uniform(t_key, (draws,)))
        means = jax.tree.map(lambda m: jnp.mean(m, axis=0), metrics)
        return jnp.mean(values), (state, means)

    return curve_loss
