"""Linear systems with a symmetric matrix that may be indefinite or singular."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.curvature import lanczos
from jaxdl.curvature.operators import LinearOperator, not_in_space
from jaxdl.types import Array, Params, Scalar


class Solution(NamedTuple):
    """What became of ``A x = b``; the norms are from products done at the end."""

    x: Params
    residual_norm: Array  # () |b - A x|
    normal_residual_norm: Array  # () |A (b - A x)|, zero at a least-squares solution
    converged: Array  # () bool, residual_norm <= tol |b|
    least_squares: Array  # () bool, normal_residual_norm is that of rounding
    iterations: Array  # () int32, of one product each


def minres(
    operator: LinearOperator,
    b: Params,
    *,
    tol: Scalar | None = None,
    max_iterations: int | None = None,
    window: int | None = None,
) -> Solution:
    """Solve ``A x = b`` for a symmetric A of any signature.

    MINRES: iterate i minimizes ``|b - A x|`` over the Krylov space of i dimensions, so
    the residual never grows, which conjugate gradients promise for a positive definite
    A only. If A is singular and b outside its range, the iterates tend to a
    least-squares solution, in general not the shortest: ``least_squares`` is then true
    and ``converged`` is not. A whose smallest eigenvalue is below ``4 sqrt(eps)`` times
    the largest may pass for singular. Rounding leaves a residual of about
    ``eps |A| |x|``; below that no ``tol`` is met.

    Lanczos vectors lose their orthogonality to rounding, which costs iterations, beyond
    p many if A is ill-conditioned. Those in the window are kept orthogonal.

    Args:
        operator: A, of size p; `damp` it for a shifted system.
        b: Right-hand side, a tree of the space.
        tol: Relative tolerance, ``>= 0``; may be traced. None for ``eps ** (2 / 3)``.
        max_iterations: ``>= 1``. None for 5 p.
        window: How many of the last vectors to keep and to orthogonalize against,
            ``0..p``. None for p up to p = 724, where they take 4 MB, and 0 beyond.

    Returns:
        The solution, zero for b = 0, and what is known of its error. NaN in, NaN out,
        after the first product.

    Raises:
        ValueError: If ``b`` is not in the space, or a number lies outside its domain.

    References:
        Paige, Saunders (1975), Solution of sparse indefinite systems of linear
        equations, SIAM Journal on Numerical Analysis 12(4), 617-629. Choi, Paige,
        Saunders (2011), MINRES-QLP: a Krylov subspace method for indefinite or singular
        symmetric systems, section 2. https://arxiv.org/abs/1003.4042

    Examples:
        >>> from jaxdl.curvature import from_matrix
        >>> saddle = from_matrix(jnp.diag(jnp.array([2.0, -1.0])))
        >>> solution = minres(saddle, jnp.array([2.0, 3.0]))
        >>> print(f"{solution.x[0]:.3f} {solution.x[1]:.3f}", solution.converged)
        1.000 -3.000 True
    """
    if message := not_in_space(operator, b=b):
        raise ValueError(message)
    if isinstance(tol, float | int) and not tol >= 0:
        raise ValueError(f"tol must be >= 0, got {tol}")
    if max_iterations is not None and max_iterations < 1:
        raise ValueError(f"max_iterations must be >= 1, got {max_iterations}")
    p = operator.size
    if window is None:
        window = p if p * p <= 2**19 else 0
    if not 0 <= window <= p:
        raise ValueError(f"window must lie in 0..{p}, got {window}")
    eps = float(jnp.finfo(operator.dtype).eps)
    tol = jnp.asarray(eps ** (2 / 3) if tol is None else tol, operator.dtype)
    limit = 5 * p if max_iterations is None else max_iterations
    return _solve(window, operator, b, tol, limit)


class _State(NamedTuple):
    """Lanczos vectors, the factors of T = Q R, and the iterate."""

    window: Array  # (window, p) Lanczos vectors
    v_old: Array  # (p,)
    v: Array  # (p,)
    beta: Array  # () entry of T that couples the two; zero at the start
    c_old: Array  # () and so on: the last two reflections of Q
    s_old: Array
    c: Array
    s: Array
    w_old: Array  # (p,) and w: the last two columns of V R^-1
    w: Array
    x: Array  # (p,)
    residual: Array  # () norm, by recurrence
    norm: Array  # () largest column of T: a lower bound of |A|
    iterations: Array  # () int32
    stalled: Array  # () bool, x is a least-squares solution


@jax.jit(static_argnums=0)
def _solve(window, operator, b, tol, max_iterations):
    """Iterate, then measure the residuals."""
    flat = operator.ravel(b)
    goal = tol * lanczos.norm(flat) / 2  # the recurrence is not the residual itself

    def more(state):
        unfinished = (state.residual > goal) & ~state.stalled
        return unfinished & (state.iterations < max_iterations)

    flatness = 4 * float(jnp.finfo(operator.dtype).eps) ** 0.5
    step = partial(_step, operator, flatness / 2)
    state = jax.lax.while_loop(more, step, _start(flat, window))
    residual = flat - operator.flat_matvec(state.x)
    normal_residual = operator.flat_matvec(residual)
    residual_norm = lanczos.norm(residual)
    normal_residual_norm = lanczos.norm(normal_residual)
    return Solution(
        x=operator.unravel(state.x),
        residual_norm=residual_norm,
        normal_residual_norm=normal_residual_norm,
        converged=residual_norm <= 2 * goal,
        least_squares=normal_residual_norm <= flatness * state.norm * residual_norm,
        iterations=state.iterations,
    )


def _start(b, window):
    """The iterate zero, and reflections that do nothing."""
    zeros = jnp.zeros_like(b)
    length = lanczos.norm(b)
    zero, one = jnp.zeros_like(length), jnp.ones_like(length)
    return _State(
        window=jnp.zeros((window, b.size), b.dtype),
        v_old=zeros,
        v=lanczos.normalize(b),
        beta=zero,
        c_old=-one,
        s_old=zero,
        c=-one,
        s=zero,
        w_old=zeros,
        w=zeros,
        x=zeros,
        residual=length,
        norm=zero,
        iterations=jnp.zeros((), jnp.int32),
        stalled=jnp.zeros((), bool),
    )


def _step(operator, flatness, state):
    """One product, one column of T, one more reflection."""
    image = operator.flat_matvec(state.v) - state.beta * state.v_old
    alpha = jnp.sum(image * state.v)
    image = image - alpha * state.v
    window = state.window
    if len(window):
        window = window.at[state.iterations % len(window)].set(state.v)
        _, image = lanczos.orthogonalize(window, image)
    beta = lanczos.norm(image)
    norm = jnp.maximum(state.norm, jnp.sqrt(state.beta**2 + alpha**2 + beta**2))

    # The column (beta_old, alpha, beta) under the last two reflections [c s; s -c].
    above = state.s_old * state.beta
    middle = -state.c_old * state.beta
    delta = state.c * middle + state.s * alpha
    gamma_bar = state.s * middle - state.c * alpha
    # |A r| / |r| for the residual r of the x at hand.
    stalled = jnp.hypot(gamma_bar, state.c * beta) <= flatness * norm

    gamma = jnp.hypot(gamma_bar, beta)
    divisor = jnp.where(stalled, 1, gamma)
    c, s = gamma_bar / divisor, beta / divisor
    w = (state.v - above * state.w_old - delta * state.w) / divisor
    x = state.x + jnp.where(stalled, 0, c * state.residual) * w
    return _State(
        window=window,
        v_old=state.v,
        v=image / jnp.where(beta > 0, beta, 1),
        beta=beta,
        c_old=state.c,
        s_old=state.s,
        c=c,
        s=s,
        w_old=state.w,
        w=w,
        x=x,
        residual=jnp.where(stalled, state.residual, s * state.residual),
        norm=norm,
        iterations=state.iterations + 1,
        stalled=stalled,
    )
