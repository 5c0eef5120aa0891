"""Eigenvalues at the ends of the spectrum, each with the residual that vouches for it.

Lanczos with full orthogonalization and thick restarts: the basis grows to m rows, is
cut down to its best Ritz vectors, and grows on. When the wanted pairs have settled a
search begins for those that the starting vector could not see.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.curvature import lanczos
from jaxdl.curvature.lanczos import Basis
from jaxdl.curvature.operators import LinearOperator
from jaxdl.types import Array, Key, Params, Scalar

Which = Literal["largest", "smallest", "magnitude"]
_WHICH = ("largest", "smallest", "magnitude")


class Eigenpairs(NamedTuple):
    """k eigenpairs, the wanted end of the spectrum first."""

    values: Array  # (k,)
    vectors: Params  # trees of the space, with a first axis k: orthonormal
    residual_norms: Array  # (k,) |A v - value v|, from a product done at the end
    converged: Array  # (k,) bool, whether the residual norm is within the tolerance
    tolerance: Array  # () the residual norm asked for, or the smallest one attainable
    finished: Array  # () bool, the search ended by itself: not by max_matvecs or NaN
    matvecs: Array  # () int32, products used


def eigenpairs(
    operator: LinearOperator,
    k: int,
    which: Which = "largest",
    tol: Scalar | None = None,
    *,
    key: Key,
    search: bool = True,
    basis_size: int | None = None,
    max_matvecs: int = 5000,
) -> Eigenpairs:
    """The k eigenpairs at an end of the spectrum, by restarted Lanczos.

    A pair counts as converged if its residual norm ``|A v - value v|``, v of length 1,
    is at most ``tol`` times the largest eigenvalue met in magnitude. There is an
    eigenvalue at most one residual norm away from the value; how good the vector is
    depends on the gap to the others.

    **A residual certifies an eigenvalue, not that none was missed.** One starting
    vector sees one eigenvector of a multiple eigenvalue, and none that it has no
    component along. So when all k pairs have settled, the basis starts again from them
    and a random vector orthogonal to them, as often as that finds another pair to put
    among the k; it ends where it settles at an eigenvalue beyond them. This makes a
    missed pair unlikely, not impossible.

    Pairs that have not converged are flagged. A NaN or infinite product ends the loop,
    and all values are NaN.

    Args:
        operator: A, of size p.
        k: How many, ``1..p``.
        which: "largest" or "smallest" by value, or "magnitude": largest by modulus.
        tol: Relative tolerance, ``>= 0``; may be traced. None for ``eps ** (2 / 3)``,
            2.4e-5 in float32 and 3.7e-11 in float64. Below 16 eps it counts as 16 eps,
            as ``tolerance`` in the result shows; products that are themselves less
            accurate than this leave pairs not converged.
        key: PRNG key, for starting vectors.
        search: Whether to look for missed pairs, at up to the cost of finding the
            others. Not done for k = 1, where a copy changes nothing.
        basis_size: Rows m of the basis, which take m p numbers of memory; at least
            k + 2, or p. None for ``max(2 k + 10, 20)``, and for p < 20,000 more, up to
            256. With ``m = p`` nothing can be missed.
        max_matvecs: The most products to spend, ``>= basis_size``; k more are spent on
            the residuals.

    Returns:
        Values, vectors, and what is known of their errors.

    Raises:
        ValueError: If an argument lies outside its domain.

    References:
        Wu, Simon (2000), Thick-restart Lanczos method for large symmetric eigenvalue
        problems, SIAM Journal on Matrix Analysis and Applications 22(2), 602-616.

    Examples:
        >>> from jaxdl.curvature import from_matrix
        >>> spectrum = jnp.array([10.0, 10.0, 8.0] + [1.0] * 27)
        >>> operator = from_matrix(jnp.diag(spectrum))
        >>> pairs = eigenpairs(operator, 3, key=jax.random.key(0))
        >>> print(pairs.values.round(3), pairs.converged)
        [10. 10.  8.] [ True  True  True]
    """
    p = operator.size
    if not isinstance(k, int) or not 1 <= k <= p:
        raise ValueError(f"k must be an integer in 1..{p}, got {k}")
    if which not in _WHICH:
        raise ValueError(
            f"which must be 'largest', 'smallest' or 'magnitude', got {which!r}"
        )
    if isinstance(tol, float | int) and not tol >= 0:
        raise ValueError(f"tol must be >= 0, got {tol}")
    m = _default_basis_size(p, k) if basis_size is None else basis_size
    if not (k + 2 <= m <= p or m == p):
        raise ValueError(
            f"basis_size must lie in {min(k + 2, p)}..{p}, got {basis_size}"
        )
    if max_matvecs < m:
        raise ValueError(f"max_matvecs must be >= basis_size={m}, got {max_matvecs}")
    eps = float(jnp.finfo(operator.dtype).eps)
    tol = jnp.asarray(eps ** (2 / 3) if tol is None else tol, operator.dtype)
    plan = _Plan(k, m, m == p, search and k > 1)
    tol = jnp.maximum(tol, 16 * eps)
    return _solve(plan, operator, _WHICH.index(which), tol, key, max_matvecs)


def _default_basis_size(p, k):
    """More rows mean fewer products; so as many as stay in a cache of a few MB."""
    return min(p, max(2 * k + 10, 20, min(256, 2**19 // p)))


class _Plan(NamedTuple):
    """What a program is compiled for."""

    k: int
    m: int
    complete: bool  # the basis will span the whole space
    search: bool


class _Ritz(NamedTuple):
    """What the filled rows say of the spectrum, the wanted end first."""

    values: Array  # (m,)
    rotation: Array  # (m, m), a column a value
    residual_norms: Array  # (m,) as far as the rows account for A; infinite: no value


class _State(NamedTuple):
    """Between two bursts."""

    basis: Basis
    ritz: _Ritz
    found: Array  # (k,) values that settled before the search began; NaN before that
    norm: Array  # () the largest Ritz value so far, in magnitude
    matvecs: Array  # () int32
    search: Array  # () bool, begin a search for missed pairs
    done: Array  # () bool


def _burst(m):
    """Rows to fill between two looks at the Ritz values: a look costs about m^3."""
    return max(2, m // 10)


@jax.jit(static_argnums=0)
def _solve(plan, operator, which, tol, key, max_matvecs):
    """Restart until done, then measure the residuals."""
    k, m, _, _ = plan
    p, dtype = operator.size, operator.dtype

    def sound(state):
        affordable = state.matvecs < max_matvecs
        return affordable & jnp.isfinite(state.basis.scale)

    def unsettled(state):
        in_between = ~state.search & ~state.done
        return sound(state) & in_between & (state.basis.filled < m)

    def burst(state):
        begun, spent = state.basis.filled, state.matvecs
        budget = jnp.minimum(max_matvecs - spent, _burst(m))
        end = jnp.minimum(begun + budget, m)

        def fresh(filled):
            number = jax.random.fold_in(key, spent + filled - begun)
            return jax.random.normal(number, (p,), dtype)

        basis = jax.lax.while_loop(
            lambda basis: (basis.filled < end) & jnp.isfinite(basis.scale),
            lambda basis: lanczos.extend(operator.flat_matvec, basis, fresh),
            state.basis,
        )
        ritz, norm = _ritz(basis, which)
        norm = jnp.maximum(state.norm, norm)
        verdict = _judge(plan, ritz, basis.filled, which, tol * norm, state.found)
        matvecs = spent + basis.filled - begun
        return _State(basis, ritz, state.found, norm, matvecs, *verdict)

    def cycle(state):
        return _restart(plan, jax.lax.while_loop(unsettled, burst, state))

    basis = lanczos.begin(p, m, dtype)
    nothing = jnp.full(m, jnp.nan, dtype)
    ritz = _Ritz(nothing, basis.projected, nothing)
    no = jnp.zeros((), bool)
    state = _State(basis, ritz, nothing[:k], basis.scale, basis.filled, no, no)
    state = jax.lax.while_loop(lambda state: sound(state) & ~state.done, cycle, state)
    return _certify(k, operator, which, tol, state)


def _judge(plan, ritz, filled, which, tolerance, found):
    """Whether to begin a search for missed pairs, and whether to stop."""
    k, m, complete, search = plan
    never = jnp.zeros((), bool)
    whole = (filled == m) if complete else never
    limit = tolerance / 2  # the vectors kept add their own residuals
    settled = jnp.all(ritz.residual_norms[:k] <= limit)
    if not search:
        return never, settled | whole
    if complete:
        return never, whole
    changed = ~jnp.all(jnp.abs(ritz.values[:k] - found) <= tolerance)
    scores = _score(ritz.values, which)
    gap = scores[k - 1] - scores[k]
    # The next pair has settled too, to far below the gap: nothing is left above it. If
    # there is no gap, any of these may be the new one. Not before five products: where
    # all but a few eigenvalues are tiny, so is the residual of a random vector.
    beyond = jnp.all(ritz.residual_norms[: k + 1] <= jnp.maximum(limit, gap) / 128)
    beyond = beyond & (filled >= min(k + 5, m))
    return settled & changed, settled & ~changed & beyond


def _restart(plan, state):
    """Cut the basis down to its best Ritz vectors.

    It goes on from where it was; or for a search, from the k wanted vectors and a fresh
    one, which a coupling of zero asks for.
    """
    k, m, _, _ = plan
    basis, ritz = state.basis, state.ritz
    anew = state.search | state.done
    kept = jnp.where(anew, k, min(k + (m - k) // 2, m - 1))
    kept = jnp.minimum(kept, basis.filled).astype(jnp.int32)
    chosen = jnp.arange(m) < kept
    rotation = jnp.where(chosen[None], ritz.rotation, 0)
    rows = lanczos.multiply(rotation.T, basis.rows[:m])
    following = jnp.where(anew, 0, basis.rows[basis.filled])
    basis = basis._replace(
        rows=jnp.pad(rows, ((0, 1), (0, 0))).at[kept].set(following),
        projected=jnp.diag(jnp.where(chosen, ritz.values, 0)),
        filled=kept,
        coupling=jnp.where(anew, 0, basis.coupling),
    )
    found = jnp.where(state.search, ritz.values[:k], state.found)
    return state._replace(basis=basis, found=found, search=jnp.zeros((), bool))


def _certify(k, operator, which, tol, state):
    """Multiply the k vectors once more, and compare."""
    vectors = state.basis.rows[:k]
    # Newton's step to the nearest orthonormal vectors: restarts add up their rounding.
    excess = lanczos.multiply(vectors, vectors.T) - jnp.eye(k, dtype=vectors.dtype)
    vectors = vectors - lanczos.multiply(excess, vectors) / 2
    images = jax.lax.map(operator.flat_matvec, vectors)
    values, rotation = jnp.linalg.eigh(lanczos.multiply(vectors, images.T))
    order = jnp.argsort(-_score(values, which))
    values, rotation = values[order], rotation[:, order]
    vectors = lanczos.multiply(rotation.T, vectors)
    images = lanczos.multiply(rotation.T, images)
    residual_norms = jax.vmap(lanczos.norm)(images - values[:, None] * vectors)
    tolerance = tol * jnp.maximum(state.norm, jnp.max(jnp.abs(values)))
    return Eigenpairs(
        values=values,
        vectors=jax.vmap(operator.unravel)(vectors),
        residual_norms=residual_norms,
        converged=residual_norms <= tolerance,
        tolerance=tolerance,
        finished=state.done,
        matvecs=state.matvecs + k,
    )


def _ritz(basis, which):
    """Rayleigh and Ritz, and the largest value in magnitude.

    Rows that are not filled get values far outside.
    """
    m = basis.projected.shape[0]
    used = jnp.arange(m) < basis.filled
    size = lanczos.norm(basis.projected)
    size = jnp.where(size > 0, size, 1)
    filled_up = basis.projected + jnp.diag(jnp.where(used, 0, 2 * size))
    values, rotation = jnp.linalg.eigh(filled_up)
    genuine = ~(values > 1.5 * size)
    order = jnp.argsort(-jnp.where(genuine, _score(values, which), -jnp.inf))
    values, rotation, genuine = values[order], rotation[:, order], genuine[order]
    left = jnp.abs(basis.coupling * rotation[basis.filled - 1])
    ritz = _Ritz(values, rotation, jnp.where(genuine, left, jnp.inf))
    return ritz, jnp.max(jnp.where(genuine, jnp.abs(values), 0))


def _score(values, which):
    """Large for what is wanted, the entry of `_WHICH` with this number."""
    return jax.lax.select_n(which, values, -values, jnp.abs(values))
