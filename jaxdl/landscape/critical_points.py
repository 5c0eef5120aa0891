"""Critical points of a loss, each with a certificate, its index and its symmetry."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import tree
from jaxdl.landscape.canonical import canonical_form
from jaxdl.landscape.degeneracy import explained_directions
from jaxdl.landscape.root_finding import EPS, METHODS, Method
from jaxdl.landscape.symmetry import Symmetry, check_fits
from jaxdl.landscape.tangents import scale_tangents
from jaxdl.theory.precision import in_float64
from jaxdl.types import Array, Params, Scalar

MethodName = Literal[
    "newton_trust_region", "gradient_norm", "newton_minres", "levenberg_marquardt"
]

STATUSES = ("critical", "stalled", "diverged")
"""The names of the numbers in `CriticalPoints.status`."""


class CriticalPoints(NamedTuple):
    """What became of n starts; the counts are -1 where the point is not critical."""

    points: Params  # a tree like the starts: where each search ended
    status: Array  # (n,) int32: 0 critical, 1 stalled, 2 diverged
    loss: Array  # (n,)
    gradient_norm: Array  # (n,)
    newton_step: Array  # (n,) length of the Newton step at the point
    drift: Array  # (n,) distance from where the gradient norm first met the tolerance
    smooth: Array  # (n,) bool, whether the gradient is differentiable at the point
    eigenvalues: Array  # (n, p) of the Hessian at the point, ascending
    threshold: Array  # (n,) eigenvalues of this size or less count as zero
    negative: Array  # (n,) int32, the index: eigenvalues below -threshold
    zero: Array  # (n,) int32, degenerate directions
    positive: Array  # (n,) int32
    explained: Array  # (n,) int32, degenerate directions along symmetry tangents
    unexplained: Array  # (n,) int32, the others
    representative: Array  # (n,) int32, the first start with the same critical point
    iterations: Array  # (n,) int32

    @property
    def critical(self) -> Array:
        """``(n,)``, which of them are certified critical points."""
        return self.status == 0

    @property
    def stalled(self) -> Array:
        """``(n,)``, which of them are finite but have no certificate."""
        return self.status == 1

    @property
    def diverged(self) -> Array:
        """``(n,)``, which of them are not finite or beyond the bound."""
        return self.status == 2

    @property
    def distinct(self) -> Array:
        """``(n,)``, one critical point of each class modulo the symmetry."""
        return self.representative == np.arange(self.representative.shape[0])


@in_float64
def find_critical_points(
    loss: Callable[[Params], Array],
    starts: Params,
    method: MethodName = "newton_trust_region",
    tol: Scalar = 1e-10,
    *,
    max_iterations: int = 200,
    max_step: float = 1.0,
    bound: float = 100.0,
    step_tol: float = 1e-6,
    zero_tol: float = 1e-7,
    duplicate_tol: float = 1e-5,
    symmetry: Symmetry | None = None,
    tangents: Callable[[Params], Params] | None = None,
) -> CriticalPoints:
    """Search for zeros of the gradient from many starts at once.

    The methods lower ``|g|``, not the loss, so that saddles are found as minima are:

    - ``newton_trust_region``: ``|g + H s|`` least within a radius.
    - ``gradient_norm``: ``|g|^2 / 2`` minimized by BFGS, from products with H alone.
    - ``newton_minres``: ``H s = -g`` by MINRES, and a line search; no H is built until
      the end.
    - ``levenberg_marquardt``: ``s = -(H^2 + mu)^-1 H g``.

    A search goes on below ``tol`` until its steps are down to 1e-10 or ``|g|`` falls no
    more. A point is then *critical* only if all of this holds:

    - ``|g| <= tol``.
    - The Newton step from there, over the eigenvalues that are not rounding, has length
      ``step_tol (1 + |x|)`` at most. On the flank of ``exp(-x)`` the gradient is as
      small as one likes, and the step 1.
    - It is within ``0.01 (1 + |x|)`` of where ``|g|`` first met ``tol``: what creeps on
      and on is on its way to infinity.
    - The gradient is differentiable there: along two directions and back, at two
      distances around 1e-5, it is ``g + H v`` up to terms of second order. A ReLU
      network has no certificate on a kink, where the gradient that JAX computes is one
      of many; at zero it has a kink in every unit.

    *Diverged* are points that are not finite or whose largest entry exceeds ``bound (1
    + that of the start)``. All others are *stalled*: at minima of ``|g|`` that are not
    zero, on the way to infinity, on kinks, or out of iterations.

    All is computed in float64, even where JAX is set to 32 bits: the rounding of
    float32, 1e-7 of the terms of the gradient, is above any useful ``tol``, and an
    eigenvalue below p 1e-7 of the largest is not to be told from zero. A point whose
    units are saturated so far that the loss is constant to rounding has no certificate
    if the search came there, but gets one if it started there.

    A call is compiled, once for each function object; as under ``jit``, other values
    that ``loss`` refers to are those of the first call. The results are float64: work
    under ``jax.enable_x64(True)`` or convert them to NumPy before computing with them.

    Args:
        loss: ``loss(params) -> ()``, twice differentiable where it counts.
        starts: Tree of arrays with a leading axis of n starts, p parameters each.
        method: Which.
        tol: Largest gradient norm of a critical point, ``> 0``; may be traced.
        max_iterations: Steps of each search, ``>= 1``.
        max_step: Length of the longest step, ``> 0``.
        bound: See above, ``> 0``.
        step_tol: See above, ``> 0``.
        zero_tol: Eigenvalues up to ``zero_tol`` times the largest in magnitude there,
            or up to 1e-9 times the largest at the start, count as zero.
        duplicate_tol: Points x and y are the same if ``|x - y| <= duplicate_tol (1 +
            |x|)`` in canonical form.
        symmetry: Of the loss; points are compared modulo it, and its scales explain
            degenerate directions. None for none.
        tangents: ``tangents(params)``, a tree with a leading axis of directions along
            which other continuous symmetries move the parameters, such as
            `linear_tangents`. None for none.

    Returns:
        One entry a start. ``explained`` counts the dimensions of the null space that
        the tangents span; ``unexplained`` are ``zero - explained``, such as those of a
        point in a family that no declared symmetry makes.

    Raises:
        ValueError: If the method is unknown, the starts are no batch of floating-point
            arrays, the loss is no float64 scalar, or a number lies outside its domain.

    References:
        Doye, Wales (2002), Saddle points and dynamics of Lennard-Jones clusters,
        solids, and supercooled liquids, The Journal of Chemical Physics 116, 3777-3788:
        most of what minimizing ``|g|^2`` finds is not critical. Frye, Simon, Wadia,
        Ligeralde, DeWeese, Bouchard (2021), Critical point-finding methods reveal
        gradient-flat regions of deep network losses. https://arxiv.org/abs/2003.10397

    Examples:
        >>> def loss(x):
        ...     return (x[0] ** 2 - 1) ** 2 + x[1] ** 2
        >>> starts = jnp.array([[0.1, 0.3], [0.8, 1.0], [-2.0, 0.5]])
        >>> found = find_critical_points(loss, starts)
        >>> for point, negative in zip(found.points, found.negative):
        ...     print(f"{point[0]:.0f} {point[1]:.0f} index {negative}")
        0 0 index 1
        1 0 index 0
        -1 0 index 0
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {[*METHODS]}, got {method!r}")
    numbers = {
        "tol": tol,
        "max_step": max_step,
        "bound": bound,
        "step_tol": step_tol,
        "zero_tol": zero_tol,
        "duplicate_tol": duplicate_tol,
        "max_iterations": max_iterations,
    }
    for name, number in numbers.items():
        if isinstance(number, float | int) and not number > 0:
            raise ValueError(f"{name} must be > 0, got {number}")
    leaves = jax.tree.leaves(starts)
    shapes = [jnp.shape(leaf) for leaf in leaves]
    if not shapes or len({shape[:1] for shape in shapes}) != 1 or shapes[0][:1] == ():
        raise ValueError(f"starts must have one leading axis, got shapes {shapes}")
    if not all(jnp.issubdtype(jnp.result_type(leaf), jnp.floating) for leaf in leaves):
        dtypes = [str(jnp.result_type(leaf)) for leaf in leaves]
        raise ValueError(f"starts must be floating-point arrays, got {dtypes}")
    starts = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), starts)
    one = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), starts)
    if symmetry is not None:
        check_fits(symmetry, one, "starts")
    out = jax.eval_shape(loss, one)
    if out.shape != () or out.dtype != jnp.float64:
        raise ValueError(
            f"loss must return a float64 scalar, got {out.dtype} of shape {out.shape}"
        )
    settings = _Settings(
        tol, max_iterations, max_step, bound, step_tol, zero_tol, duplicate_tol
    )
    return _find(loss, method, tangents, symmetry, starts, settings)


class _Settings(NamedTuple):
    """The numbers among the arguments."""

    tol: Any
    max_iterations: Any
    max_step: Any
    bound: Any
    step_tol: Any
    zero_tol: Any
    duplicate_tol: Any


class _State(NamedTuple):
    """Of one search."""

    x: Array  # (p,)
    g: Array  # (p,)
    memory: Any
    best: Array  # () smallest gradient norm at the last clear progress
    idle: Array  # () int32, iterations since then
    met: Array  # () bool, the tolerance has been met
    x_met: Array  # (p,) where
    iterations: Array  # () int32
    done: Array  # () bool


@partial(jax.jit, static_argnums=(0, 1, 2))
def _find(loss, method, tangents, symmetry, starts, settings):
    """Search, classify, compare."""
    unravel = tree.ravel(jax.tree.map(lambda leaf: leaf[0], starts))[1]
    flat = jax.vmap(lambda start: tree.ravel(start)[0])(starts)
    gradient = jax.grad(lambda x: loss(unravel(x)))
    searching = METHODS[method](gradient, settings.max_step)

    def one(x):
        state = _search(gradient, searching, x, settings)
        facts = _facts(gradient, state, x, settings)
        params = unravel(state.x)
        directions = []
        if symmetry is not None and any(g.scales for _, g in symmetry.groups):
            directions.append(scale_tangents(symmetry, params))
        if tangents is not None:
            directions.append(tangents(params))
        explained = jnp.zeros((), jnp.int32)
        if directions:
            rows = jax.vmap(lambda direction: tree.ravel(direction)[0])
            explained = explained_directions(
                facts.pop("vectors"),
                jnp.abs(facts["eigenvalues"]) <= facts["threshold"],
                jnp.concatenate([rows(direction) for direction in directions]),
            )
        facts.pop("vectors", None)
        return facts | {"points": params, "loss": loss(params), "explained": explained}

    found = jax.vmap(one)(flat)
    critical = found["status"] == 0
    found["unexplained"] = found["zero"] - found["explained"]
    for name in ("negative", "zero", "positive", "explained", "unexplained"):
        found[name] = jnp.where(critical, found[name], -1)
    found["representative"] = _representatives(
        found["points"], critical, symmetry, settings.duplicate_tol
    )
    return CriticalPoints(**found)


def _search(gradient, method: Method, x, settings) -> _State:
    """One search, to its end."""
    patience = 20

    def more(state):
        return ~state.done & (state.iterations < settings.max_iterations)

    def body(state):
        x, g, memory = method.step(state.x, state.g, state.memory)
        length, size = jnp.linalg.norm(x - state.x), jnp.linalg.norm(g)
        better = size < 0.999 * state.best
        idle = jnp.where(better, 0, state.idle + 1)
        met = size <= settings.tol
        x_met = jnp.where(state.met, state.x_met, x)
        still = met & (length > 0) & (length <= 1e-10 * (1 + jnp.linalg.norm(x)))
        lost = (
            ~jnp.isfinite(size)
            | _beyond(x, start, settings)
            | (met & _drifted(x, x_met))
        )
        return _State(
            x,
            g,
            memory,
            jnp.where(better, size, state.best),
            idle,
            met,
            x_met,
            state.iterations + 1,
            still | lost | (idle >= patience) | (size == 0),
        )

    start = x
    g = gradient(x)
    size = jnp.linalg.norm(g)
    zero = jnp.zeros((), jnp.int32)
    met = size <= settings.tol
    done = ~jnp.isfinite(size) | (size == 0)
    state = _State(x, g, method.begin(x, g), size, zero, met, x, zero, done)
    return jax.lax.while_loop(more, body, state)


def _beyond(x, start, settings):
    """Whether parameters have left for infinity."""
    return jnp.max(jnp.abs(x)) > settings.bound * (1 + jnp.max(jnp.abs(start)))


def _drifted(x, x_met):
    """Whether the search went on and on after it had met the tolerance."""
    return jnp.linalg.norm(x - x_met) > 0.01 * (1 + jnp.linalg.norm(x_met))


def _facts(gradient, state: _State, start, settings) -> dict[str, Array]:
    """Everything that is decided at the end of one search."""
    x, g = state.x, state.g
    hessian = jax.jacfwd(gradient)(x)
    values, vectors = jnp.linalg.eigh((hessian + hessian.T) / 2)
    largest = jnp.max(jnp.abs(values))
    size, distance = jnp.linalg.norm(g), jnp.linalg.norm(x)
    # Directions in which both curvature and gradient are rounding tell no distance.
    along = g @ vectors
    real = (jnp.abs(values) > 10 * x.size * EPS * largest) & (values != 0)
    real &= jnp.abs(along) > EPS * largest * (1 + distance)
    step = jnp.linalg.norm(jnp.where(real, along / jnp.where(real, values, 1), 0))
    smooth = _is_smooth(gradient, x, g, hessian, largest)
    drift = jnp.where(state.met, jnp.linalg.norm(x - state.x_met), 0)
    finite = jnp.isfinite(size) & jnp.isfinite(largest) & jnp.all(jnp.isfinite(x))
    certified = (
        (size <= settings.tol)
        & (step <= settings.step_tol * (1 + distance))
        & ~_drifted(x, state.x_met)
        & smooth
    )
    status = jnp.where(certified, 0, 1)
    status = jnp.where(finite & ~_beyond(x, start, settings), status, 2)
    before = jnp.linalg.norm(jax.jacfwd(gradient)(start), 2)
    threshold = jnp.maximum(settings.zero_tol * largest, 1e-9 * before)

    def number(mask):
        return jnp.sum(mask, dtype=jnp.int32)

    return {
        "status": status.astype(jnp.int32),
        "gradient_norm": size,
        "newton_step": step,
        "drift": drift,
        "smooth": smooth,
        "eigenvalues": values,
        "vectors": vectors,
        "threshold": threshold,
        "negative": number(values < -threshold),
        "zero": number(jnp.abs(values) <= threshold),
        "positive": number(values > threshold),
        "iterations": state.iterations,
    }


def _is_smooth(gradient, x, g, hessian, largest):
    """Whether the gradient is ``g + H v + O(|v|^2)`` around a point."""
    generic = jnp.cos(jnp.arange(1, 2 * x.size + 1) ** 1.5).reshape(2, -1)
    directions = generic / jnp.linalg.norm(generic, axis=1, keepdims=True)
    directions = jnp.concatenate([directions, -directions])
    far = 1e-4 * (1 + jnp.linalg.norm(x))

    def error(direction, distance):
        v = distance * direction
        return jnp.linalg.norm(gradient(x + v) - g - hessian @ v)

    def fits(direction):
        outer, inner = error(direction, far), error(direction, far / 8)
        return (outer <= 1e-3 * far * largest) | (16 * inner <= outer)

    return jnp.all(jax.vmap(fits)(directions))


def _representatives(points, critical, symmetry, tolerance):
    """The first start that found the same point, or -1."""

    def form(params):
        flat, unravel = tree.ravel(params)
        if symmetry is None:
            return flat
        # Rounding decides no sign and no order.
        largest = jnp.max(jnp.abs(flat), initial=0)
        clean = unravel(jnp.where(jnp.abs(flat) <= 1e-7 * largest, 0, flat))
        return tree.ravel(canonical_form(symmetry, clean, tolerance=1e-6))[0]

    forms = jax.vmap(form)(points)
    sizes = jnp.linalg.norm(forms, axis=1)

    def first(i):
        away = jnp.linalg.norm(forms - forms[i][None], axis=1)
        same = critical & (away <= tolerance * (1 + sizes[i]))
        return jnp.where(critical[i], jnp.argmax(same), -1).astype(jnp.int32)

    return jax.lax.map(first, jnp.arange(sizes.size))
