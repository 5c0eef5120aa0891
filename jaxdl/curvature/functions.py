"""Functions of a symmetric operator, such as its logarithm, and their traces."""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
from jax.tree_util import Partial

from jaxdl.curvature import lanczos
from jaxdl.curvature.operators import LinearOperator, Rule
from jaxdl.curvature.traces import Estimate, Method, Stopping, trace
from jaxdl.types import Array, Key, Scalar

_STOPPING = Stopping()


def matrix_function(
    operator: LinearOperator, function: Callable[[Array], Array], depth: int
) -> LinearOperator:
    """The operator f(A), by Lanczos approximation.

    With A = sum l v v^T, ``f(A) = sum f(l) v v^T``. The product with z is
    ``|z| Q^T f(T) e_1`` on the Krylov basis Q of z with T = Q A Q^T: exact for
    polynomials f of degree below ``depth``, and when ``depth`` is at least the number
    of distinct eigenvalues. Otherwise double ``depth`` and compare. It is linear and
    symmetric only as far as it is exact.

    Args:
        operator: A, of size p.
        function: f, elementwise, defined on the range of the eigenvalues; NaN
            elsewhere makes the product NaN. As for `from_matvec`, a
            ``jax.tree_util.Partial`` with changing arrays is compiled once.
        depth: Products with A in one with f(A), ``>= 1``; at most p are of use. Takes
            ``depth p`` numbers of memory.

    Returns:
        An operator on the same space.

    Raises:
        ValueError: If ``depth`` is not a positive integer.

    References:
        Higham (2008), Functions of Matrices, section 13.2.

    Examples:
        >>> from jaxdl.curvature import from_matrix
        >>> operator = from_matrix(jnp.diag(jnp.array([4.0, 9.0])))
        >>> root = matrix_function(operator, jnp.sqrt, 2)
        >>> jnp.allclose(root.matvec(jnp.ones(2)), jnp.array([2.0, 3.0])).item()
        True
    """
    if not isinstance(depth, int) or depth < 1:
        raise ValueError(f"depth must be a positive integer, got {depth}")
    data = (operator, function if isinstance(function, Partial) else Partial(function))
    rule = _Function(min(depth, operator.size))
    return LinearOperator(data, rule, operator.structure, operator.leaves)


def log_determinant(
    operator: LinearOperator,
    depth: int,
    key: Key,
    *,
    method: Method = "hutchinson",
    stopping: Stopping = _STOPPING,
    sketch: int = 10,
) -> Estimate:
    """The logarithm of the determinant of a positive definite operator.

    The trace of log A, by `matrix_function`. The standard error does not include the
    error of the Lanczos approximation, which makes the value too large: double
    ``depth`` and compare.

    Args:
        operator: A, positive definite, such as a damped Gauss-Newton matrix; NaN comes
            out where a product sees a negative eigenvalue.
        depth: Products with A a probe, see `matrix_function`.
        key: PRNG key.
        method: As in `trace`.
        stopping: When to stop.
        sketch: As in `trace`.

    Returns:
        Value and standard error, ``()``.

    References:
        Ubaru, Chen, Saad (2017), Fast estimation of tr(f(A)) via stochastic Lanczos
        quadrature, SIAM Journal on Matrix Analysis and Applications 38(4), 1075-1099.

    Examples:
        >>> import jax
        >>> from jaxdl.curvature import from_matrix
        >>> operator = from_matrix(jnp.diag(jnp.array([1.0, 2.0, 3.0])))
        >>> print(f"{log_determinant(operator, 3, jax.random.key(0)).value:.3f}")
        1.792
    """
    logarithm = matrix_function(operator, jnp.log, depth)
    return trace(logarithm, key, method=method, stopping=stopping, sketch=sketch)


def effective_dimension(
    operator: LinearOperator,
    damping: Scalar,
    depth: int,
    key: Key,
    *,
    method: Method = "hutchinson",
    stopping: Stopping = _STOPPING,
    sketch: int = 10,
) -> Estimate:
    """How many directions have more curvature than the damping: ``sum l / (l + c)``.

    The trace of ``A (A + c)^-1``, by `matrix_function`; the standard error does not
    include the error of the Lanczos approximation.

    Args:
        operator: A, positive semi-definite.
        damping: c, ``> 0``, in the units of the eigenvalues l; may be traced.
        depth: Products with A a probe, see `matrix_function`.
        key: PRNG key.
        method: As in `trace`.
        stopping: When to stop.
        sketch: As in `trace`.

    Returns:
        Value and standard error, ``()``; between 0 and the rank of A.

    Raises:
        ValueError: If ``damping`` is not positive.

    References:
        MacKay (1992), Bayesian interpolation, Neural Computation 4(3), 415-447, where
        it is the number of well-determined parameters.
    """
    if isinstance(damping, float | int) and not damping > 0:
        raise ValueError(f"damping must be > 0, got {damping}")
    damping = jnp.asarray(damping, operator.dtype)
    filtered = matrix_function(operator, Partial(_share, damping), depth)
    return trace(filtered, key, method=method, stopping=stopping, sketch=sketch)


@dataclass(frozen=True)
class _Function(Rule):
    """The data are an operator and a function."""

    depth: int

    def product(self, data, vector):
        operator, function = data
        flat = operator.ravel(vector)
        basis = lanczos.krylov(operator.flat_matvec, flat, self.depth)
        nodes, rotation = lanczos.quadrature(basis)
        image = lanczos.multiply(
            lanczos.multiply(rotation, rotation[0] * function(nodes)),
            basis.rows[: self.depth],
        )
        length = lanczos.norm(flat)
        return operator.unravel(jnp.where(length == 0, 0, length * image))

    def form(self, data, vector):
        """``|v|^2 sum(s[0]^2 f(nodes))``, exact up to twice the degree."""
        operator, function = data
        flat = operator.ravel(vector)
        basis = lanczos.krylov(operator.flat_matvec, flat, self.depth)
        nodes, rotation = lanczos.quadrature(basis)
        mean = jnp.sum(jnp.square(rotation[0]) * function(nodes))
        length = lanczos.norm(flat)
        return jnp.where(length == 0, 0, jnp.square(length) * mean)


def _share(damping, eigenvalues):
    """How much of a direction is left by the damping."""
    return eigenvalues / (eigenvalues + damping)
