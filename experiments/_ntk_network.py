"""What the parts of the study on tangent kernels share: data, networks, trends."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from jaxdl import data, optim
from jaxdl.ntk import infinite

Apply = Callable[..., jax.Array]


class Rows(NamedTuple):
    """Digits of a few classes, each row scaled to ``|x|^2 = d``; labels from 0."""

    x_train: np.ndarray  # (n, 64) float32
    y_train: np.ndarray  # (n,) int32
    x_test: np.ndarray  # (m, 64)
    y_test: np.ndarray  # (m,)


def rows(key: jax.Array, classes: Sequence[int], n_train: int, n_test: int) -> Rows:
    """Draw rows without replacement.

    Args:
        key: PRNG key.
        classes: Which digits.
        n_train: Training rows.
        n_test: Held-out rows.

    Returns:
        The rows.
    """
    table = data.digits()
    there = np.flatnonzero(np.isin(table.y, classes))
    order = np.asarray(jax.random.permutation(key, len(there)))
    picked = there[order[: n_train + n_test]]
    x = table.x[picked]
    x = x / np.linalg.norm(x, axis=1, keepdims=True) * np.sqrt(x.shape[1])
    x = x.astype(np.float32)
    y = np.searchsorted(np.sort(classes), table.y[picked]).astype(np.int32)
    return Rows(x[:n_train], y[:n_train], x[n_train:], y[n_train:])


def check_rows(name: str, classes: Sequence[int], n_train: int, n_test: int) -> None:
    """Reject what `rows` cannot draw.

    Args:
        name: Of the part.
        classes: Which digits.
        n_train: Training rows.
        n_test: Held-out rows.

    Raises:
        ValueError: Which field is wrong.
    """
    if len(set(classes)) < max(2, len(classes)) or not set(classes) <= set(range(10)):
        raise ValueError(
            f"{name}.classes must be two or more different digits, got {classes}"
        )
    most = 174 * len(classes)  # the rarest digit is there so often
    if min(n_train, n_test) < 2 or n_train + n_test > most:
        raise ValueError(
            f"{name}.n_train and {name}.n_test must be >= 2 and at most {most} "
            f"together, got {n_train} and {n_test}"
        )


def check_ascending(name: str, values: ArrayLike, least: int = 2) -> None:
    """Reject sizes that show no trend.

    Args:
        name: Of the field.
        values: The sizes.
        least: How many there must be.

    Raises:
        ValueError: If they are too few, not positive, or not ascending.
    """
    sizes = np.asarray(values, float)
    if sizes.size < least or sizes[0] <= 0 or np.any(np.diff(sizes) <= 0):
        raise ValueError(
            f"{name} must be {least} or more ascending positive numbers, got {values}"
        )


def network(width: int, outputs: int) -> infinite.Layer:
    """Two hidden layers of erf units in the NTK parameterization, without biases.

    Smooth, so that its kernel changes smoothly.

    Args:
        width: Units of each hidden layer.
        outputs: k.

    Returns:
        ``init, apply, kernel``.
    """
    return infinite.serial(
        infinite.dense(width, w_std=1.5),
        infinite.erf(),
        infinite.dense(width, w_std=1.5),
        infinite.erf(),
        infinite.dense(outputs),
    )


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    """Targets ``(n, k)`` whose sum over the classes is zero, float32."""
    return np.eye(classes, dtype=np.float32)[labels] - np.float32(1 / classes)


def draws(layer: infinite.Layer, key: jax.Array, seeds: int, inputs: int = 64) -> Any:
    """Initial weights, seeds first."""
    return jax.jit(jax.vmap(lambda key: layer.init(key, (inputs,))))(
        jax.random.split(key, seeds)
    )


def mean_loss(apply: Apply, loss: Callable, params: Any, x: Any, y: Any) -> jax.Array:
    """The mean over examples of ``loss(outputs, y)``."""
    return jnp.mean(jax.vmap(loss)(jax.vmap(apply, (None, 0))(params, x), y))


def descend(
    objective: Callable[[Any], jax.Array],
    measure: Callable[[Any], Any],
    params: Any,
    optimizer: Any,
    every: int,
    looks: int,
) -> tuple[Any, Any]:
    """Gradient steps, as many as ``every x looks``; to be called under ``jit``.

    Args:
        objective: From parameters to the loss.
        measure: From parameters to what is kept at each look.
        params: Where to start.
        optimizer: A gradient transformation.
        every: Updates between looks.
        looks: How many, besides the start.

    Returns:
        What was measured at the start and at each look, looks first, and the
        parameters at the end.
    """

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(jax.grad(objective)(params), state, params)
        return (optim.apply_updates(params, updates), state), None

    def look(carry, _):
        carry, _ = jax.lax.scan(step, carry, length=every)
        return carry, measure(carry[0])

    start = measure(params)
    carry = (params, optimizer.init(params))
    carry, seen = jax.lax.scan(look, carry, length=looks)
    seen = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), start, seen)
    return seen, carry[0]


def flow(
    objective: Callable[[Any], jax.Array],
    measure: Callable[[Any], Any],
    params: Any,
    step: Any,
    every: int,
    looks: int,
) -> tuple[Any, Any]:
    """Gradient flow by the classical method of Runge and Kutta, of order four.

    Args:
        objective: From parameters to the loss.
        measure: From parameters to what is kept at each look.
        params: Where to start.
        step: Time of a step.
        every: Steps between looks.
        looks: How many, besides the start.

    Returns:
        As `descend`.
    """
    # Stage by stage, so that the gradient is compiled once.
    stages = (jnp.array([0.0, 0.5, 0.5, 1.0]), jnp.array([1.0, 2.0, 2.0, 1.0]) / 6)

    def moved(params, change, time):
        return jax.tree.map(lambda p, c: p - time * c, params, change)

    def advance(params, _):
        def stage(carry, numbers):
            slope, total = carry
            ahead, weight = numbers
            slope = jax.grad(objective)(moved(params, slope, step * ahead))
            total = jax.tree.map(lambda t, s: t + weight * s, total, slope)
            return (slope, total), None

        zero = jax.tree.map(jnp.zeros_like, params)
        (_, total), _ = jax.lax.scan(stage, (zero, zero), stages)
        return moved(params, total, step), None

    def look(params, _):
        params, _ = jax.lax.scan(advance, params, length=every)
        return params, measure(params)

    start = measure(params)
    params, seen = jax.lax.scan(look, params, length=looks)
    seen = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), start, seen)
    return seen, params


class Trend(NamedTuple):
    """Slope in log-log, its mean over seeds and the 95 % interval of that mean."""

    slope: float
    low: float
    high: float

    def __str__(self) -> str:
        """As a note says it."""
        return f"{self.slope:.3f}, 95 % interval {self.low:.3f} to {self.high:.3f}"


def trend(sizes: ArrayLike, values: np.ndarray) -> Trend:
    """How values go with sizes: a line through each seed's logarithms.

    Args:
        sizes: ``(w,)`` positive.
        values: ``(w, s)`` positive, s seeds, >= 2.

    Returns:
        Mean slope, with Student's interval.

    Examples:
        >>> sizes = np.array([1.0, 2.0, 4.0])
        >>> print(trend(sizes, np.stack([3 / sizes, 5 / sizes], 1)))
        -1.000, 95 % interval -1.000 to -1.000
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(values)
    x = np.log(np.asarray(sizes, float))
    x = (x - x.mean()) / np.sum((x - x.mean()) ** 2)
    slopes = x @ logs
    seeds = len(slopes)
    half = stdtrit(seeds - 1, 0.975) * slopes.std(ddof=1) / np.sqrt(seeds)
    return Trend(slopes.mean(), slopes.mean() - half, slopes.mean() + half)


def relative(a: Any, b: Any) -> Any:
    """``|a - b| / |b|`` in the Frobenius norm, of NumPy's arrays or of JAX's."""
    return (((a - b) ** 2).sum() / (b**2).sum()) ** 0.5
