"""Steps toward a zero of the gradient, whatever the signature of the Hessian.

Each method has ``begin(x, g) -> memory`` and ``step(x, g, memory) -> Step``; all lower
``|g|``. Vectors are flat, ``(p,)``.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.curvature import from_matvec, minres
from jaxdl.types import Array

Gradient = Callable[[Array], Array]

EPS = float(jnp.finfo(jnp.float64).eps)


class Step(NamedTuple):
    """Where a step ended; at its start where it was rejected."""

    x: Array  # (p,)
    g: Array  # (p,)
    memory: Any


class Method(NamedTuple):
    """A method for one gradient function."""

    begin: Callable[[Array, Array], Any]
    step: Callable[[Array, Array, Any], Step]


def trust_region(gradient: Gradient, max_step: Array) -> Method:
    """The step that makes ``|g + H s|`` least among those no longer than a radius.

    Args:
        gradient: From x to g.
        max_step: Largest radius.

    Returns:
        The method; its memory is the radius.
    """

    def begin(x, g):
        del g
        return jnp.asarray(max_step, x.dtype)

    def step(x, g, radius):
        modes = _modes(gradient, x, g)
        s = _within(modes, radius)
        new, fell = _try(gradient, x, g, s)
        ratio = _ratio(modes, g, s, fell)
        taken = ratio > 1e-4
        length = jnp.linalg.norm(s)
        larger = jnp.where(
            (ratio > 0.75) & (length > 0.9 * radius),
            jnp.minimum(2 * radius, max_step),
            radius,
        )
        # A rejected step that was shorter than the radius counts by its length.
        radius = jnp.where(ratio < 0.25, jnp.minimum(length, radius) / 4, larger)
        return _choose(taken, x, g, x + s, new, radius)

    return Method(begin, step)


def levenberg_marquardt(gradient: Gradient, max_step: Array) -> Method:
    """Steps ``-(H^2 + mu)^-1 H g``, with mu from how well the last one did.

    Args:
        gradient: From x to g.
        max_step: Longest step.

    Returns:
        The method; its memory is mu and the factor to raise it by.

    References:
        Nielsen (1999), Damping parameter in Marquardt's method, IMM report 1999-05.
    """

    def begin(x, g):
        # Relative to the largest eigenvalue, which only a step knows.
        del g
        return jnp.asarray(1e-3, x.dtype), jnp.asarray(2.0, x.dtype)

    def step(x, g, memory):
        mu, growth = memory
        modes = _modes(gradient, x, g)
        damping = mu * jnp.max(jnp.abs(modes.values)) ** 2
        s = _damped(modes, damping)
        s = s * jnp.minimum(1, max_step / _positive(jnp.linalg.norm(s)))
        new, fell = _try(gradient, x, g, s)
        ratio = _ratio(modes, g, s, fell)
        taken = ratio > 1e-4
        lower = jnp.maximum(1 / 3, 1 - (2 * jnp.clip(ratio, 0, 1) - 1) ** 3)
        mu = jnp.clip(jnp.where(taken, mu * lower, mu * growth), 1e-30, 1e30)
        growth = jnp.where(taken, 2.0, jnp.minimum(2 * growth, 1e6))
        return _choose(taken, x, g, x + s, new, (mu, growth))

    return Method(begin, step)


def newton_minres(gradient: Gradient, max_step: Array) -> Method:
    """Steps that `jaxdl.curvature.minres` finds for ``H s = -g``, and a line search.

    Each iterate of it lowers ``|g|``: its residual is orthogonal to ``H s``. No matrix
    is built.

    Args:
        gradient: From x to g.
        max_step: Longest step.

    Returns:
        The method, without memory.

    References:
        Roosta, Liu, Xu, Mahoney (2018), Newton-MR: inexact Newton method with minimum
        residual sub-problem solver. https://arxiv.org/abs/1810.00303
    """

    def begin(x, g):
        del g
        return jnp.zeros((), x.dtype)

    def step(x, g, memory):
        product = jax.linearize(gradient, x)[1]
        size = jnp.linalg.norm(g)
        solution = minres(
            from_matvec(product, x),
            -g / _positive(size),
            tol=jnp.minimum(1e-2, size),
            max_iterations=x.size,
        )
        slope = 2 * size**2 * jnp.vdot(g / _positive(size), product(solution.x))
        return _search(gradient, x, g, size * solution.x, slope, max_step, memory)

    return Method(begin, step)


def gradient_norm(gradient: Gradient, max_step: Array) -> Method:
    """Minimize ``q = |g|^2 / 2`` by BFGS; its gradient ``H g`` is one product.

    Args:
        gradient: From x to g.
        max_step: Longest step.

    Returns:
        The method; its memory is the inverse of the Hessian of q, and the gradient.
    """

    def slope_of(x, v):
        return jax.jvp(gradient, (x,), (v,))[1]

    def begin(x, g):
        return jnp.eye(x.size, dtype=x.dtype), slope_of(x, g), jnp.asarray(True)

    def step(x, g, memory):
        inverse, slope, fresh = memory
        s = -(inverse @ slope)
        downhill = jnp.vdot(s, slope) < 0
        s = jnp.where(downhill, s, -slope)
        inverse = jnp.where(downhill, inverse, jnp.eye(x.size, dtype=x.dtype))
        fresh = fresh | ~downhill
        # Without a history, go along the slope to the minimum of |g + H s|.
        bent = slope_of(x, s)
        cauchy = -jnp.vdot(g, bent) / _positive(jnp.vdot(bent, bent))
        s = jnp.where(fresh & (cauchy > 0), cauchy * s, s)
        there = _search(gradient, x, g, s, 2 * jnp.vdot(s, slope), max_step, None)
        moved, new = there.x - x, slope_of(there.x, there.g)
        change = new - slope
        product = jnp.vdot(moved, change)
        use = product > 1e-14 * jnp.linalg.norm(moved) * jnp.linalg.norm(change)
        safe = jnp.where(use, product, 1)
        scaled = jnp.where(fresh, safe / _positive(jnp.vdot(change, change)), 1)
        base = inverse * scaled
        seen = base @ change
        updated = (
            base
            - (jnp.outer(seen, moved) + jnp.outer(moved, seen)) / safe
            + (1 + jnp.vdot(change, seen) / safe) * jnp.outer(moved, moved) / safe
        )
        stuck = jnp.all(moved == 0)
        eye = jnp.eye(x.size, dtype=x.dtype)
        inverse = jnp.where(stuck, eye, jnp.where(use, updated, inverse))
        fresh = jnp.where(stuck, True, fresh & ~use)
        return Step(there.x, there.g, (inverse, new, fresh))

    return Method(begin, step)


METHODS = {
    "newton_trust_region": trust_region,
    "gradient_norm": gradient_norm,
    "newton_minres": newton_minres,
    "levenberg_marquardt": levenberg_marquardt,
}


class _Modes(NamedTuple):
    """The Hessian's eigenvalues, and the gradient along its eigenvectors."""

    values: Array  # (p,)
    vectors: Array  # (p, p), columns
    along: Array  # (p,) components of g; zero where the eigenvalue is


def _modes(gradient, x, g):
    values, vectors = jnp.linalg.eigh(jax.jacfwd(gradient)(x))
    zero = x.size * EPS * jnp.max(jnp.abs(values))
    along = jnp.where(jnp.abs(values) > zero, g @ vectors, 0)
    return _Modes(values, vectors, along)


def _damped(modes, mu):
    """``-(H^2 + mu)^-1 H g``."""
    below = modes.values**2 + mu
    return -modes.vectors @ (modes.values * modes.along / _positive(below))


def _within(modes, radius):
    """The step with the least mu that is no longer than the radius, by bisection."""
    newton = _damped(modes, 0.0)
    # |s| <= |H g| / mu, so the upper end is short enough.
    high = jnp.log(_positive(jnp.linalg.norm(modes.values * modes.along) / radius))
    low = high - 80

    def halve(_, ends):
        low, high = ends
        middle = (low + high) / 2
        long = jnp.linalg.norm(_damped(modes, jnp.exp(middle))) > radius
        return jnp.where(long, middle, low), jnp.where(long, high, middle)

    _, high = jax.lax.fori_loop(0, 40, halve, (low, high))
    short = _damped(modes, jnp.exp(high))
    short = short * jnp.minimum(1, radius / _positive(jnp.linalg.norm(short)))
    return jnp.where(jnp.linalg.norm(newton) <= radius, newton, short)


def _try(gradient, x, g, s):
    """The gradient after a step, and by how much its square fell."""
    new = gradient(x + s)
    return new, _drop(g, new)


def _drop(g, new):
    """``|g|^2 - |new|^2`` relative to ``|g|^2``; minus infinity where not finite."""
    scale = _positive(jnp.linalg.norm(g))
    fell = jnp.vdot(g / scale, g / scale) - jnp.vdot(new / scale, new / scale)
    return jnp.where(jnp.isfinite(fell), fell, -jnp.inf)


def _ratio(modes, g, s, fell):
    """What a step won, over what the model promised."""
    scale = _positive(jnp.linalg.norm(g))
    left = modes.along / scale + modes.values * (s @ modes.vectors) / scale
    promised = jnp.sum((modes.along / scale) ** 2) - jnp.sum(left**2)
    return jnp.where(promised > 0, fell / _positive(promised), -jnp.inf)


def _search(gradient, x, g, s, slope, max_step, memory):
    """Halve a step until ``|g|^2`` falls by 1e-4 of what its slope promises."""
    s = jnp.where(jnp.all(jnp.isfinite(s)), s, 0)
    size = jnp.vdot(g, g)
    factor = jnp.minimum(1, max_step / _positive(jnp.linalg.norm(s)))
    promise = -slope / _positive(size)

    def value(factor):
        new = gradient(x + factor * s)
        return new, _drop(g, new)

    def short_of(state):
        factor, _, fell, tries = state
        return (fell < 1e-4 * factor * promise) & (tries < 40)

    def halve(state):
        factor, _, _, tries = state
        return factor / 2, *value(factor / 2), tries + 1

    start = factor, *value(factor), 0
    factor, new, fell, _ = jax.lax.while_loop(short_of, halve, start)
    return _choose(fell > 0, x, g, x + factor * s, new, memory)


def _choose(taken, x, g, x_new, g_new, memory):
    """The new point, or the old one."""
    return Step(jnp.where(taken, x_new, x), jnp.where(taken, g_new, g), memory)


def _positive(number):
    """A number to divide by: 1 where it is zero."""
    return jnp.where(number > 0, number, 1)
