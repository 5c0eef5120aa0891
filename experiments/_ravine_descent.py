"""Optimizers on quadratics: how each is set, how it runs, and what is known exactly."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from experiments._figures import BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILLION
from jaxdl import optim
from jaxdl.types import Array, Scalar

LABELS = {
    "gradient_descent": "gradient descent, 1 / L",
    "best_step": "gradient descent, 2 / (L + mu)",
    "heavy_ball": "heavy ball, at its best",
    "nesterov": "Nesterov",
    "momentum": "momentum 0.9, 1 / L",
    "rmsprop": "RMSprop",
    "adam": "Adam",
}
COLORS = {
    "gradient_descent": BLUE,
    "best_step": SKY,
    "heavy_ball": VERMILLION,
    "nesterov": GREEN,
    "momentum": ORANGE,
    "rmsprop": PURPLE,
    "adam": BLACK,
}
TUNED = ("gradient_descent", "best_step", "heavy_ball", "nesterov")
"""Those whose settings come from the extreme eigenvalues L and mu."""


def tuning(name: str, kappa: float, adaptive_rate: float) -> tuple[float, float]:
    """Learning rate and momentum of a method, for eigenvalues from 1 / kappa to 1."""
    q = 1 / np.sqrt(kappa)
    return {
        "gradient_descent": (1.0, 0.0),
        "best_step": (2 / (1 + 1 / kappa), 0.0),
        "heavy_ball": (4 / (1 + q) ** 2, ((1 - q) / (1 + q)) ** 2),
        "nesterov": (1.0, (1 - q) / (1 + q)),
        "momentum": (1.0, 0.9),
        "rmsprop": (adaptive_rate, 0.9),
        "adam": (adaptive_rate, 0.9),
    }[name]


def optimizer(name: str, rate: Scalar, decay: Scalar, eps: float = 1e-8) -> Any:
    """The gradient transformation of a method; its numbers may be traced."""
    return {
        "gradient_descent": lambda: optim.sgd(rate),
        "best_step": lambda: optim.sgd(rate),
        "heavy_ball": lambda: optim.momentum(rate, decay),
        "nesterov": lambda: optim.nesterov(rate, decay),
        "momentum": lambda: optim.momentum(rate, decay),
        "rmsprop": lambda: optim.rmsprop(rate, decay, eps),
        "adam": lambda: optim.adam(rate, decay, eps=eps),
    }[name]()


@partial(jax.jit, static_argnames=("name", "steps", "eps"))
def trajectories(
    name: str,
    hessians: Array,
    starts: Array,
    rate: Scalar,
    decay: Scalar,
    steps: int,
    eps: float = 1e-8,
) -> Array:
    """Iterates on ``x' H x / 2``, ``(s, steps + 1, d)``; the first is the start."""
    method = optimizer(name, rate, decay, eps)

    def one(hessian, start):
        def step(carry, _):
            x, state = carry
            updates, state = method.update(hessian @ x, state, x)
            return (x + updates, state), x + updates

        _, path = jax.lax.scan(step, (start, method.init(start)), length=steps)
        return jnp.concatenate([start[None], path])

    return jax.vmap(one)(hessians, starts)


@partial(jax.jit, static_argnames=("name", "limit"))
def steps_to(
    name: str,
    hessians: Array,
    starts: Array,
    rates: Array,
    decays: Array,
    tolerance: Scalar,
    limit: int,
) -> Array:
    """Steps until ``|x| <= tolerance |x_0|``, ``(k, s)``; 0 where the limit came first.

    Hessians are ``(k, s, d, d)``, starts ``(k, s, d)``, settings ``(k,)``.
    """

    def one(hessian, start, rate, decay):
        method = optimizer(name, rate, decay)
        goal = tolerance * jnp.linalg.norm(start)

        def more(carry):
            step, x, _ = carry
            return (step < limit) & (jnp.linalg.norm(x) > goal)

        def advance(carry):
            step, x, state = carry
            updates, state = method.update(hessian @ x, state, x)
            return step + 1, x + updates, state

        first = (jnp.zeros((), jnp.int32), start, method.init(start))
        step, x, _ = jax.lax.while_loop(more, advance, first)
        return jnp.where(jnp.linalg.norm(x) <= goal, step, 0)

    over_seeds = jax.vmap(one, (0, 0, None, None))
    return jax.vmap(over_seeds)(hessians, starts, rates, decays)


def spectral_radius(name: str, curvatures: Any, rate: float, decay: float) -> float:
    """Contraction a step in the long run, from the optimizer itself.

    In each eigendirection the update is a linear map of the parameter and the
    optimizer's state; this is the largest modulus of an eigenvalue over all of them.
    A double eigenvalue is found to about ``sqrt(eps)``.
    """
    matrices = _update_maps(name, jnp.asarray(curvatures), rate, decay)
    return float(np.max(np.abs(np.linalg.eigvals(np.asarray(matrices)))))


@partial(jax.jit, static_argnames=("name",))
def _update_maps(name, curvatures, rate, decay):
    method = optimizer(name, rate, decay)
    start = jnp.zeros((), curvatures.dtype)
    flat, unravel = ravel_pytree((start, method.init(start)))

    def matrix(curvature):
        def step(flat):
            x, state = unravel(flat)
            updates, state = method.update(curvature * x, state, x)
            return ravel_pytree((x + updates, state))[0]

        return jax.jacfwd(step)(flat)

    return jax.vmap(matrix)(curvatures)


def contraction(name: str, kappa: float) -> float:
    """The same for the tuned methods, from the formula."""
    q = 1 / np.sqrt(kappa)
    return {
        "gradient_descent": 1 - 1 / kappa,
        "best_step": (kappa - 1) / (kappa + 1),
        "heavy_ball": (1 - q) / (1 + q),
        "nesterov": 1 - q,
    }[name]


def amplitudes(
    name: str, curvatures: Any, rate: float, decay: float, steps: int
) -> np.ndarray:
    """What is left of a unit error in each eigendirection, ``(steps + 1, d)``.

    Gradient descent has ``(1 - rate c)^t``. With momentum the error obeys
    ``e_{t+1} = p e_t - s e_{t-1}``, so that with ``r = sqrt(s)``, ``cos(a) = p / 2r``
    and ``U_n = sin((n + 1) a) / sin(a)``::

        e_t = e_1 r^(t-1) U_{t-1} - r^t U_{t-2}

    At the tuned settings no root is real, but for the double ones at the ends of the
    spectrum, where ``U_n`` is ``n + 1``, with the sign of the root to the power n.
    """
    c, t = np.asarray(curvatures), np.arange(steps + 1.0)[:, None]
    decrease = 1 - rate * c
    if name in ("gradient_descent", "best_step"):
        return decrease**t
    if name == "heavy_ball":
        p, s, first = 1 + decay - rate * c, decay + 0 * c, decrease
    else:
        p, s = (1 + decay) * decrease, decay * decrease
        first = 1 - rate * c * (1 + decay)
    gone = s < 1e-14  # the error is zero from the second step on
    r = np.sqrt(np.where(gone, 1.0, s))
    cosine = np.clip(p / (2 * r), -1, 1)
    left = first * r ** (t - 1) * _chebyshev(t - 1, cosine)
    left -= r**t * _chebyshev(t - 2, cosine)
    return np.where(gone, np.where(t == 0, 1.0, np.where(t == 1, first, 0.0)), left)


def _chebyshev(n, cosine):
    """Chebyshev's polynomial of the second kind, of order ``n >= -2``."""
    angle = np.arccos(cosine)
    end = 1 - np.abs(cosine) < 1e-13
    inside = np.sin((n + 1) * angle) / np.where(end, 1, np.sin(angle))
    return np.where(end, (n + 1) * np.sign(cosine) ** np.abs(n), inside)
