"""Stochastic gradient descent on a quadratic: simulated, and in expectation."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import optim
from jaxdl.types import Array, Key, Schedule

RULES = {
    "constant": "constant",
    "step": "step",
    "exponential": "exponential",
    "inverse_time": "1 / t",
    "inverse_root": "1 / root of t",
    "cosine": "cosine",
    "linear": "linear",
    "warm_cosine": "warm-up, cosine",
}


def rules(steps: int) -> dict[str, Callable[[float], Schedule]]:
    """From an initial learning rate to each schedule, laid out for so many steps.

    Step: a tenth, twice. Exponential: to a hundredth. ``1 / t`` and its root: with
    ``1 + 20 t / steps``, so to a twenty-first and its root. The others: to zero.
    """
    third, tenth = max(1, -(-steps // 3)), max(1, steps // 10)
    pace = 20 / steps
    return {
        "constant": optim.constant_schedule,
        "step": lambda rate: optim.step_decay(rate, 0.1, third),
        "exponential": lambda rate: optim.exponential_decay(rate, np.log(100) / steps),
        "inverse_time": lambda rate: optim.inverse_time_decay(rate, pace),
        "inverse_root": lambda rate: optim.inverse_root_decay(rate, pace),
        "cosine": lambda rate: optim.cosine_decay(rate, steps),
        "linear": lambda rate: optim.polynomial_decay(rate, 0.0, steps),
        "warm_cosine": lambda rate: optim.warmup(
            optim.cosine_decay(rate, max(1, steps - tenth)), tenth
        ),
    }


def values(schedule: Schedule, steps: int) -> np.ndarray:
    """A schedule's values at all steps, ``(steps,)``."""
    return np.asarray(schedule(jnp.arange(steps)))


@partial(jax.jit, static_argnames=("seeds", "every"))
def simulate(
    key: Key,
    curvatures: Array,
    noise: Array,
    start: Array,
    rates: Array,
    seeds: int,
    every: int,
) -> Array:
    """Iterates ``(records + 1, seeds, d)``, one every so many steps, the start first.

    The gradient is ``curvatures x + noise xi`` with xi standard normal.
    """
    optimizer = optim.sgd(lambda step: rates[step])
    x = jnp.broadcast_to(start, (seeds, *start.shape))

    def step(carry, t):
        x, state = carry
        xi = jax.random.normal(jax.random.fold_in(key, t), x.shape)
        updates, state = optimizer.update(
            curvatures[None] * x + noise[None] * xi, state, x
        )
        return (x + updates, state), None

    def record(carry, steps):
        carry, _ = jax.lax.scan(step, carry, steps)
        return carry, carry[0]

    steps = jnp.arange(rates.size).reshape(-1, every)
    _, path = jax.lax.scan(record, (x, optimizer.init(x)), steps)
    return jnp.concatenate([x[None], path])


def second_moments(
    curvatures: np.ndarray, noise: np.ndarray, start: np.ndarray, rates: np.ndarray
) -> np.ndarray:
    """``E x_i^2`` before each step and after the last, ``(steps + 1, ..., d)``.

    ``m <- (1 - rate c)^2 m + rate^2 noise^2``, exactly. Rates are ``(..., steps)``.
    """
    moments = np.broadcast_to(start**2, (*rates.shape[:-1], start.size))
    path = [moments]
    with np.errstate(over="ignore", invalid="ignore"):
        for rate in np.moveaxis(rates, -1, 0)[..., None]:
            moments = (1 - rate * curvatures) ** 2 * moments + (rate * noise) ** 2
            path.append(moments)
    return np.stack(path)


def loss(curvatures: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """``sum c x^2 / 2`` over the last axis."""
    return squares @ curvatures / 2


def deviation(samples: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """By how many standard errors the mean over the last axis differs."""
    error = np.std(samples, axis=-1, ddof=1) / np.sqrt(samples.shape[-1])
    return (np.mean(samples, axis=-1) - expected) / error
