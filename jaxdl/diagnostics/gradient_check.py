"""Is a gradient right? Finite differences in float64, with what they may be off by."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.diagnostics.leaves import leaf_names
from jaxdl.types import Key, Params

Function = Callable[[Params], Any]
"""``function(params) -> ()``."""

Verdict = Literal["right", "wrong", "inconclusive"]
_EPS = float(np.finfo(np.float64).eps)
_STENCIL = (1, -1, 2, -2)


@dataclass(frozen=True)
class LeafCheck:
    """The slopes along k directions within one leaf."""

    name: str
    verdict: Verdict
    relative_error: float  # |analytic - numerical| over the larger of the two norms
    step: float  # h
    directions: np.ndarray  # (k, *leaf) of length 1
    analytic: np.ndarray  # (k,) <gradient, direction>
    numerical: np.ndarray  # (k,) the finite difference
    uncertainty: np.ndarray  # (k,) what the finite difference may be off by


@dataclass(frozen=True)
class GradientCheck:
    """A verdict on a gradient, and on each leaf of it."""

    verdict: Verdict  # the worst of the leaves'
    tolerance: float
    relative_error: float  # of the worst leaf
    worst: str  # its name
    leaves: tuple[LeafCheck, ...]


@dataclass(frozen=True)
class StepSweep:
    """Relative errors of finite differences against their step."""

    steps: np.ndarray  # (m,) h
    one_sided: np.ndarray  # (m,)
    two_sided: np.ndarray  # (m,)
    best_one_sided: float  # the step of the smallest error
    best_two_sided: float


def check_gradient(
    function: Function,
    params: Params,
    *,
    key: Key,
    gradient: Callable[[Params], Params] | None = None,
    directions: int | None = 5,
    step: float | None = None,
    two_sided: bool = True,
    tol: float = 1e-6,
) -> GradientCheck:
    """Compare a gradient g with finite differences, leaf by leaf.

    Along a unit vector d that is zero outside one leaf, the slope ``<g, d>`` is
    compared with ``(f(w + h d) - f(w - h d)) / 2h``, whose error falls as h^2, or with
    ``(f(w + h d) - f(w)) / h``, whose error falls as h. What the difference may itself
    be off by is measured, not assumed: twice its change from h to 2h and twice its
    rounding, ``2 eps |f| / h``, and as much of the slope's jump at w as a subgradient
    may differ by (a ReLU at 0 has no derivative).

    A leaf is "right" if the norm of the deviations, over its directions, is at most
    ``tol`` times that of the slopes; or if both are too small to be told apart next to
    the rest of the gradient. It is "wrong" if deviations beyond the uncertainty are
    larger than that, or g is not finite where f is. Otherwise it is
    "inconclusive": another step or another point may tell. At a minimum, where g is
    zero, nothing can be told.

    All is done in float64, and ``function`` is called as it is, four times a direction:
    it may be written in NumPy, if ``gradient`` is given. Under ``jax.jit`` it is
    faster. To check the gradient of a batch, close over the batch.

    Args:
        function: f, from parameters to ``()``; gets float64 and must compute in it.
        params: w, a pytree of floating-point arrays; best a random point.
        key: PRNG key, for the directions.
        gradient: g, from parameters to a tree like them; None for ``jax.grad(f)``.
        directions: k, random directions a leaf, ``>= 1``; None for every entry of
            every leaf in turn.
        step: h ``> 0``; None for ``eps^(1/3)`` (two-sided) or ``eps^(1/2)`` times the
            largest entry of the leaf by modulus, or 1 if that is smaller.
        two_sided: Which difference.
        tol: Relative tolerance, ``> 0``.

    Returns:
        The verdict, and the numbers of each leaf.

    Raises:
        ValueError: If a number lies outside its domain, ``params`` has no entries or
            not floating-point ones, f does not return a float64 ``()``, or g not a
            tree like ``params``.

    References:
        Nocedal, Wright (2006), Numerical Optimization, section 8.1 (the steps).

    Examples:
        >>> def loss(w):
        ...     return jnp.sum(jnp.sin(w["a"])) + w["b"] ** 2
        >>> def by_hand(w):  # the factor 2 is missing
        ...     return {"a": jnp.cos(w["a"]), "b": w["b"]}
        >>> params = {"a": jnp.ones(3), "b": jnp.array(0.7)}
        >>> key = jax.random.key(0)
        >>> check_gradient(loss, params, key=key).verdict
        'right'
        >>> found = check_gradient(loss, params, key=key, gradient=by_hand)
        >>> found.verdict, found.worst, round(found.relative_error, 3)
        ('wrong', "params['b']", 0.5)
    """
    if directions is not None and (not isinstance(directions, int) or directions < 1):
        raise ValueError(f"directions must be a positive integer, got {directions!r}")
    for name, number in (("step", step), ("tol", tol)):
        if number is not None and not 0 < number < np.inf:
            raise ValueError(f"{name} must be > 0 and finite, got {number}")
    if message := _not_parameters(params):
        raise ValueError(message)
    leaves, structure = _flatten(params)
    with jax.enable_x64(True):
        value = _evaluator(function, structure)
        found = (gradient or jax.grad(function))(_tree(leaves, structure))
        if message := _not_like(leaves, structure, found):
            raise ValueError(message)
        slopes = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(found)]
        origin = value(leaves)
        measured = []
        for number, (name, leaf) in enumerate(
            zip(leaf_names(params), leaves, strict=True)
        ):
            h = step or _default_step(leaf, two_sided)
            draws = _directions(key, number, leaf.shape, directions)
            along = [
                [value(_replace(leaves, number, leaf + c * h * d)) for c in _STENCIL]
                for d in draws
            ]
            stencil = np.reshape(np.array(along, np.float64), (len(draws), 4)).T
            numerical, uncertainty = _difference(origin, stencil, h, two_sided)
            analytic = np.sum(draws * slopes[number], axis=tuple(range(1, draws.ndim)))
            measured.append((name, h, draws, analytic, numerical, uncertainty))
    return _judge(measured, tol)


def step_sweep(
    function: Function,
    params: Params,
    steps: Any = None,
    *,
    key: Key,
    gradient: Callable[[Params], Params] | None = None,
    directions: int = 4,
) -> StepSweep:
    """The error of one- and two-sided differences against their step h.

    ``|(f(w + h d) - f(w)) / h - <g, d>|`` falls as h until rounding, ``eps |f| / h``,
    takes over: the best h is near ``sqrt(eps)``, 1.5e-8. The two-sided error falls as
    h^2, and its best h is near ``eps^(1/3)``, 6e-6. Errors are root mean squares over
    unit directions d in the space of all parameters, divided by that of ``<g, d>``.

    Args:
        function: As in `check_gradient`.
        params: As in `check_gradient`.
        steps: ``(m,)`` steps, ``> 0``; None for three a decade from 1e-12 to 0.1.
        key: PRNG key, for the directions.
        gradient: As in `check_gradient`; if it is wrong, the errors level off.
        directions: How many, ``>= 1``.

    Returns:
        Steps and errors.

    Raises:
        ValueError: As in `check_gradient`, or if ``steps`` is not a vector of positive
            numbers.

    Examples:
        >>> key = jax.random.key(0)
        >>> sweep = step_sweep(jnp.exp, 0.5, [0.1, 0.01], key=key)
        >>> print(sweep.two_sided.round(6))  # h^2 / 6
        [1.668e-03 1.700e-05]
    """
    if not isinstance(directions, int) or directions < 1:
        raise ValueError(f"directions must be a positive integer, got {directions!r}")
    steps = np.geomspace(1e-12, 0.1, 34) if steps is None else np.asarray(steps, float)
    if steps.ndim != 1 or not steps.size or not np.all((steps > 0) & (steps < np.inf)):
        raise ValueError(f"steps must be a vector of positive numbers, got {steps}")
    if message := _not_parameters(params):
        raise ValueError(message)
    leaves, structure = _flatten(params)
    sizes = [leaf.size for leaf in leaves]
    with jax.enable_x64(True):
        value = _evaluator(function, structure)
        found = (gradient or jax.grad(function))(_tree(leaves, structure))
        if message := _not_like(leaves, structure, found):
            raise ValueError(message)
        slopes = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(found)]
        origin = value(leaves)
        draws = _directions(key, 0, (sum(sizes),), directions)
        exact = draws @ np.concatenate([slope.ravel() for slope in slopes])

        def differences(draw, h):
            pieces = np.split(draw, np.cumsum(sizes)[:-1])
            moves = [x.reshape(w.shape) for x, w in zip(pieces, leaves, strict=True)]
            up, down = (
                value([w + c * x for w, x in zip(leaves, moves, strict=True)])
                for c in (h, -h)
            )
            return (up - origin) / h, (up - down) / (2 * h)

        pairs = np.array([[differences(draw, h) for draw in draws] for h in steps])
    one, two = np.linalg.norm(pairs - exact[:, None], axis=1).T / np.linalg.norm(exact)
    best = [float(steps[np.argmin(errors)]) for errors in (one, two)]
    return StepSweep(steps, one, two, *best)


def _not_parameters(params):
    """What to say of a tree without entries, or with others than real numbers."""
    leaves = jax.tree.leaves(params)
    for name, leaf in zip(leaf_names(params), leaves, strict=True):
        dtype = jnp.result_type(leaf)
        if not jnp.issubdtype(dtype, jnp.floating):
            return f"params must be floating point, got {dtype} in {name}"
    if not any(np.size(leaf) for leaf in leaves):
        return f"params must have entries, got {params}"
    return ""


def _not_like(leaves, structure, gradient):
    """What to say of a gradient that is not a tree like the parameters."""
    found, got = jax.tree.flatten(gradient)
    shapes, wanted = ([np.shape(x) for x in y] for y in (found, leaves))
    if (got, shapes) == (structure, wanted):
        return ""
    return (
        f"gradient must return a tree like params, {structure} of shapes {wanted}; "
        f"got {got} of shapes {shapes}"
    )


def _flatten(params):
    """Float64 leaves and the structure."""
    leaves, structure = jax.tree.flatten(params)
    return [np.asarray(leaf, np.float64) for leaf in leaves], structure


def _tree(leaves, structure):
    """The tree of some leaves, as JAX arrays."""
    return jax.tree.unflatten(structure, [jnp.asarray(leaf) for leaf in leaves])


def _evaluator(function, structure):
    """The function, of leaves."""

    def value(leaves):
        found = np.asarray(function(_tree(leaves, structure)))
        if found.shape or found.dtype != np.float64:
            raise ValueError(
                "function must return () in float64 for float64 parameters, got "
                f"{found.dtype} {found.shape}"
            )
        return float(found)

    return value


def _default_step(leaf, two_sided):
    """Where truncation and rounding are about equal, for entries of this size."""
    largest = float(np.max(np.abs(leaf), initial=1.0))
    return _EPS ** (1 / 3 if two_sided else 1 / 2) * largest


def _directions(key, number, shape, k):
    """``(k, *shape)`` random unit vectors; all unit vectors where k is None."""
    size = int(np.prod(shape))
    if k is None or not size:
        return np.eye(size).reshape(size, *shape)
    words = np.asarray(jax.random.key_data(jax.random.fold_in(key, number)))
    draws = np.random.default_rng(words.ravel()).normal(size=(k, size))
    return (draws / np.linalg.norm(draws, axis=1, keepdims=True)).reshape(k, *shape)


def _replace(leaves, number, leaf):
    """The leaves with one of them replaced."""
    return [leaf if i == number else other for i, other in enumerate(leaves)]


def _difference(origin, stencil, h, two_sided):
    """Slopes, and what they may be off by."""
    up, down, far_up, far_down = stencil
    if two_sided:
        near, far = (up - down) / (2 * h), (far_up - far_down) / (4 * h)
    else:
        near, far = (up - origin) / h, (far_up - origin) / (2 * h)
    # How far the slope jumps within h; what is linear in h, the curvature, cancels.
    jump = (up - 2 * origin + down) / h
    far_jump = (far_up - 2 * origin + far_down) / (2 * h)
    kink = np.abs(2 * jump - far_jump) / (2 if two_sided else 1)
    size = np.max(np.abs([origin + 0 * up, *stencil]), axis=0)
    change = np.abs(near - far)
    # Changes are themselves noisy: one that is small by chance vouches for nothing.
    typical = np.sqrt(np.mean(np.square(change))) if len(change) else 0.0
    return near, 2 * (np.maximum(change, typical) + 2 * _EPS * size / h) + kink


def _judge(measured, tol):
    """Verdicts from slopes."""
    norm = np.linalg.norm
    whole = max(norm([norm(row[column]) for row in measured]) for column in (3, 4))
    leaves = []
    for name, h, draws, analytic, numerical, uncertainty in measured:
        deviations = np.abs(analytic - numerical)
        size = max(norm(analytic), norm(numerical))
        beyond = norm(np.maximum(deviations - uncertainty, 0))
        small = norm(deviations) + norm(uncertainty) <= tol * whole
        if not np.all(np.isfinite(numerical + uncertainty)):
            verdict = "inconclusive"
        elif not np.all(np.isfinite(analytic)) or beyond > tol * size:
            verdict = "wrong"
        elif norm(deviations) <= tol * size or small:
            verdict = "right"
        else:
            verdict = "inconclusive"
        error = float(norm(deviations) / size) if size > 0 else 0.0
        error = float("nan") if np.isnan(size) else error
        leaves.append(
            LeafCheck(name, verdict, error, h, draws, analytic, numerical, uncertainty)
        )
    order = {"wrong": 2, "inconclusive": 1, "right": 0}
    worst = max(
        leaves,
        key=lambda leaf: (
            order[leaf.verdict],
            np.nan_to_num(leaf.relative_error, nan=np.inf),
        ),
    )
    return GradientCheck(
        worst.verdict, tol, worst.relative_error, worst.name, tuple(leaves)
    )
