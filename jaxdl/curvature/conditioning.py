"""The largest curvature, and how far apart the largest and the smallest are."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.curvature import lanczos
from jaxdl.curvature.eigenpairs import eigenpairs
from jaxdl.curvature.minres import minres
from jaxdl.curvature.operators import LinearOperator, Rule
from jaxdl.types import Array, Key, Scalar


class Sharpness(NamedTuple):
    """The largest eigenvalue."""

    value: Array  # ()
    residual_norm: Array  # () an eigenvalue is at most this far away
    converged: Array  # () bool, whether that is within the tolerance
    matvecs: Array  # () int32, products used


class ConditionNumber(NamedTuple):
    """The ratio of the extreme eigenvalues by modulus."""

    value: Array  # () infinite for a singular operator
    largest: Array  # () eigenvalue
    smallest: Array  # () eigenvalue
    relative_error: Array  # () of the value, from residuals
    converged: Array  # () bool, whether that is within the tolerance


def sharpness(
    operator: LinearOperator,
    key: Key,
    *,
    tol: Scalar | None = None,
    max_matvecs: int = 5000,
) -> Sharpness:
    """The largest eigenvalue of a Hessian: gradient descent is stable below 2 / it.

    Args:
        operator: A, of size p.
        key: PRNG key, for the starting vector.
        tol: As in `eigenpairs`; the error of the value is about its square, as long as
            the next eigenvalue is farther away.
        max_matvecs: As in `eigenpairs`.

    Returns:
        The value and what vouches for it.

    References:
        Cohen et al. (2021), Gradient descent on neural networks typically occurs at the
        edge of stability. https://arxiv.org/abs/2103.00065

    Examples:
        >>> from jaxdl.curvature import from_matrix
        >>> operator = from_matrix(jnp.diag(jnp.array([3.0, -5.0])))
        >>> print(sharpness(operator, jax.random.key(0)).value.round(4))
        3.0
    """
    top = eigenpairs(operator, 1, "largest", tol, key=key, max_matvecs=max_matvecs)
    return Sharpness(
        value=top.values[0],
        residual_norm=top.residual_norms[0],
        converged=top.converged[0],
        matvecs=top.matvecs,
    )


def condition_number(
    operator: LinearOperator,
    key: Key,
    *,
    tol: Scalar = 1e-3,
    max_iterations: int | None = None,
) -> ConditionNumber:
    """The largest eigenvalue over the smallest, both by modulus.

    The largest comes from `eigenpairs` on A, the smallest from `eigenpairs` on its
    inverse, each product of which is a `minres`: dozens of solves. The solves are
    accurate to about ``eps`` times the condition number, so that this must be below
    ``tol / eps`` for the result to converge. For a matrix that can be formed take its
    eigenvalues.

    Args:
        operator: A, of size p, of any signature.
        key: PRNG key, for starting vectors.
        tol: Relative error wanted, ``> 0``; may be traced.
        max_iterations: Products a solve, as in `minres`.

    Returns:
        The ratio with its error; infinite, with 0 as the smallest, if a random
        right-hand side shows A to be singular to within ``eps ** (2 / 3)``.

    Raises:
        ValueError: If ``tol`` is not positive.

    Examples:
        >>> from jaxdl.curvature import from_matrix
        >>> operator = from_matrix(jnp.diag(jnp.array([4.0, -0.5, 1.0])))
        >>> print(f"{condition_number(operator, jax.random.key(0)).value:.3f}")
        8.000
    """
    if isinstance(tol, float | int) and not tol > 0:
        raise ValueError(f"tol must be > 0, got {tol}")
    tol = jnp.asarray(tol, operator.dtype)
    return _condition_number(operator, key, tol, max_iterations)


@dataclass(frozen=True)
class _Inverse(Rule):
    """The data are an operator and a tolerance."""

    max_iterations: int | None

    def product(self, data, vector):
        operator, tol = data
        limit = self.max_iterations
        return minres(operator, vector, tol=tol, max_iterations=limit).x


@jax.jit(static_argnums=3)
def _condition_number(operator, key, tol, max_iterations):
    """See whether there is an inverse, and if so find its largest eigenvalue."""
    key, start_key, inverse_key = jax.random.split(key, 3)
    top = eigenpairs(operator, 1, "magnitude", tol / 4, key=key)

    def solve(vector):
        tree = operator.unravel(vector)
        found = minres(operator, tree, tol=tol / 8, max_iterations=max_iterations)
        return operator.ravel(found.x), found

    def regular():
        data = (operator, tol / 8)
        rule = _Inverse(max_iterations)
        inverse = LinearOperator(data, rule, operator.structure, operator.leaves)
        rows = min(operator.size, 20)
        bottom = eigenpairs(
            inverse, 1, "magnitude", tol / 8, key=inverse_key, basis_size=rows
        )
        vector = operator.ravel(jax.tree.map(lambda leaf: leaf[0], bottom.vectors))
        image, found = solve(vector)
        value = jnp.sum(image * vector)
        # The inverse makes of a residual r an error of at most |r| times its norm.
        error = lanczos.norm(image - value * vector) / jnp.abs(value)
        return 1 / value, error + found.residual_norm

    def singular():
        return jnp.zeros((), operator.dtype), jnp.zeros((), operator.dtype)

    start = jax.random.normal(start_key, (operator.size,), operator.dtype)
    _, trial = solve(start)
    flat = trial.least_squares & ~trial.converged
    smallest, error = jax.lax.cond(flat, singular, regular)
    largest = top.values[0]
    relative = error + jnp.where(flat, 0, top.residual_norms[0] / jnp.abs(largest))
    return ConditionNumber(
        value=jnp.where(flat, jnp.inf, jnp.abs(largest / smallest)),
        largest=largest,
        smallest=smallest,
        relative_error=relative,
        converged=relative <= tol,
    )
