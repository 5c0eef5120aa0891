"""Traces, diagonals and norms from products with random vectors.

Each is the mean of a statistic of ``z`` and ``A z`` over probes z, whose entries are
independent signs, and is returned with its standard error.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.curvature import lanczos
from jaxdl.curvature.operators import LinearOperator
from jaxdl.types import Array, Key, Params, Scalar

Method = Literal["hutchinson", "hutch++", "krylov"]


class Stopping(NamedTuple):
    """When a mean over probes is good enough.

    Sampling stops when the standard error is at most ``rtol`` times the estimate or at
    most ``atol``; for a diagonal both stand for Euclidean norms. After 30 probes the
    standard error is itself uncertain by a seventh, and errors are up to a quarter
    larger than it says; after 100 the two agree.
    """

    rtol: Scalar = 0.01
    atol: Scalar = 0.0
    at_least: int = 30  # probes before it may stop, >= 30: fewer cannot tell the error
    at_most: int = 1000  # probes


_DEFAULT = Stopping()


class Estimate(NamedTuple):
    """A mean over probes."""

    value: Params  # (), or a tree for a diagonal
    standard_error: Params  # like the value
    probes: Array  # () int32, how many were drawn
    converged: Array  # () bool, whether the stopping rule was met


def trace(
    operator: LinearOperator,
    key: Key,
    *,
    method: Method = "hutchinson",
    stopping: Stopping = _DEFAULT,
    sketch: int = 10,
) -> Estimate:
    """The sum of the eigenvalues.

    Hutchinson: the mean of ``<z, A z>``, with variance ``2 sum_{i != j} A_ij^2`` a
    probe. Hutch++: exact on the span of ``sketch`` products with random vectors, which
    catches the large eigenvalues, and Hutchinson outside it. That takes ``2 sketch``
    products more and pays where a few eigenvalues dominate the sum of squares. Krylov:
    the same on the Krylov space of one random vector, which catches isolated large
    eigenvalues better, for ``sketch`` products; but it sees one eigenvector only of
    each multiple eigenvalue. All three are unbiased.

    Args:
        operator: A, of size p.
        key: PRNG key.
        method: "hutchinson", "hutch++" or "krylov".
        stopping: When to stop.
        sketch: Dimensions to take exactly, ``>= 1``, but for Hutchinson; at most p are
            of use. They take ``sketch p`` numbers of memory.

    Returns:
        Value and standard error, ``()``.

    Raises:
        ValueError: If an argument lies outside its domain.

    References:
        Hutchinson (1989), A stochastic estimator of the trace of the influence matrix,
        Communications in Statistics 18(3), 1059-1076. Meyer, Musco, Musco, Woodruff
        (2021), Hutch++: optimal stochastic trace estimation, algorithm 1.
        https://arxiv.org/abs/2010.09649 Chen, Hallman (2023), Krylov-aware stochastic
        trace estimation. https://arxiv.org/abs/2205.01736

    Examples:
        >>> from jaxdl.curvature import from_matrix
        >>> found = trace(from_matrix(jnp.diag(jnp.arange(5.0))), jax.random.key(0))
        >>> print(found.value, found.standard_error, found.probes)
        10.0 0.0 30
    """
    if message := _misfit(method, stopping, sketch):
        raise ValueError(message)
    return _run("trace", method, sketch, stopping, operator, key)


def frobenius_norm(
    operator: LinearOperator,
    key: Key,
    *,
    method: Method = "hutchinson",
    stopping: Stopping = _DEFAULT,
    sketch: int = 10,
) -> Estimate:
    """The root of the sum of squared eigenvalues.

    ``|A|_F^2 = tr(A^2)`` is the mean of ``|A z|^2``; the standard error of the root is
    that of the mean divided by twice the root.

    Args:
        operator: A, of size p.
        key: PRNG key.
        method: As in `trace`.
        stopping: When to stop; for the norm, not its square.
        sketch: As in `trace`.

    Returns:
        Value and standard error, ``()``.

    Raises:
        ValueError: If an argument lies outside its domain.
    """
    if message := _misfit(method, stopping, sketch):
        raise ValueError(message)
    return _run("frobenius", method, sketch, stopping, operator, key)


def diagonal(
    operator: LinearOperator,
    key: Key,
    *,
    method: Method = "hutchinson",
    stopping: Stopping = _DEFAULT,
    sketch: int = 10,
) -> Estimate:
    """The diagonal of A, one entry a parameter.

    The mean of ``z * (A z)``, entry by entry: the variance of entry i is
    ``sum_{j != i} A_ij^2`` a probe. With P the projection on the span of the sketch,
    the other methods take the diagonal of ``P A + A P - P A P`` exactly and sample that
    of ``(1 - P) A (1 - P)``.

    Args:
        operator: A.
        key: PRNG key.
        method: As in `trace`.
        stopping: When to stop; the norm of the errors against that of the diagonal.
        sketch: As in `trace`.

    Returns:
        Value and standard error, trees of the space.

    Raises:
        ValueError: If an argument lies outside its domain.

    References:
        Bekas, Kokiopoulou, Saad (2007), An estimator for the diagonal of a matrix,
        Applied Numerical Mathematics 57, 1214-1229.
    """
    if message := _misfit(method, stopping, sketch):
        raise ValueError(message)
    found = _run("diagonal", method, sketch, stopping, operator, key)
    return found._replace(
        value=operator.unravel(found.value),
        standard_error=operator.unravel(found.standard_error),
    )


def _misfit(method, stopping, sketch):
    """What to say of arguments outside their domain."""
    if method not in {"hutchinson", "hutch++", "krylov"}:
        return f"method must be 'hutchinson', 'hutch++' or 'krylov', got {method!r}"
    if not isinstance(sketch, int) or sketch < 1:
        return f"sketch must be a positive integer, got {sketch}"
    for name in ("rtol", "atol"):
        value = getattr(stopping, name)
        if isinstance(value, float | int) and not value >= 0:
            return f"stopping.{name} must be >= 0, got {value}"
    for name, smallest in (("at_least", 30), ("at_most", 2)):
        value = getattr(stopping, name)
        if isinstance(value, float | int) and not value >= smallest:
            return f"stopping.{name} must be >= {smallest}, got {value}"
    return ""


class _Moments(NamedTuple):
    """Running mean and sum of squared deviations."""

    probes: Array
    mean: Array
    squares: Array
    converged: Array


@jax.jit(static_argnums=(0, 1, 2))
def _run(quantity, method, sketch, stopping, operator, key):
    """Take the sketch exactly and sample the rest until the rule is met."""
    sketch_key, probe_key = jax.random.split(key)
    if method == "hutchinson":
        sketch = 0
    rows, exact = (_krylov if method == "krylov" else _sketched)(
        quantity, operator, min(sketch, operator.size), sketch_key
    )

    def finish(moments):
        n = moments.probes.astype(operator.dtype)
        error = jnp.sqrt(moments.squares / (n * (n - 1)))
        value = exact + moments.mean
        if quantity != "frobenius":
            return value, error
        root = jnp.sqrt(value)
        return root, jnp.where(root > 0, error / (2 * root), error)

    def met(moments):
        value, error = (lanczos.norm(x) for x in finish(moments))
        enough = moments.probes >= stopping.at_least
        return enough & (error <= jnp.maximum(stopping.rtol * value, stopping.atol))

    def more(moments):
        sound = jnp.all(jnp.isfinite(moments.mean))
        return ~moments.converged & (moments.probes < stopping.at_most) & sound

    def probe(moments):
        z = _signs(jax.random.fold_in(probe_key, moments.probes), operator)
        n = moments.probes + 1
        sample = _sample(quantity, operator, rows, z)
        before = sample - moments.mean
        mean = moments.mean + before / n.astype(operator.dtype)
        squares = moments.squares + before * (sample - mean)
        moments = _Moments(n, mean, squares, moments.converged)
        return moments._replace(converged=met(moments))

    zero = jnp.zeros_like(exact)
    start = _Moments(jnp.zeros((), jnp.int32), zero, zero, jnp.zeros((), bool))
    moments = jax.lax.while_loop(more, probe, start)
    return Estimate(*finish(moments), moments.probes, moments.converged)


def _sample(quantity, operator, rows, z):
    """The statistic of one probe, off the sketch."""
    outside = _off(rows, z)
    if quantity == "trace":
        return operator.quadratic_form(operator.unravel(outside))
    image = operator.flat_matvec(outside)
    if quantity == "frobenius":
        return jnp.sum(jnp.square(image))
    return z * _off(rows, image)


def _off(rows, vector):
    """A vector without its components along the sketch."""
    return vector - lanczos.multiply(lanczos.multiply(rows, vector), rows)


def _sketched(quantity, operator, r, key):
    """Rows that span products with random vectors, and what they account for.

    They are ``(r, p)``, orthonormal or zero.
    """
    rows = jnp.zeros((r, operator.size), operator.dtype)
    if not r:
        shape = (operator.size,) if quantity == "diagonal" else ()
        return rows, jnp.zeros(shape, operator.dtype)

    def add(number, rows):
        image = operator.flat_matvec(_signs(jax.random.fold_in(key, number), operator))
        _, rest = lanczos.orthogonalize(rows, image)
        eps = jnp.finfo(rest.dtype).eps
        new = lanczos.norm(rest) > 16 * eps * lanczos.norm(image)
        _, rest = lanczos.orthogonalize(rows, lanczos.normalize(rest))
        return rows.at[number].set(jnp.where(new, lanczos.normalize(rest), 0))

    rows = jax.lax.fori_loop(0, r, add, rows)
    if quantity == "trace":
        forms = jax.lax.map(
            lambda q: operator.quadratic_form(operator.unravel(q)), rows
        )
        return rows, jnp.sum(forms)
    images = jax.lax.map(operator.flat_matvec, rows)
    if quantity == "frobenius":
        return rows, jnp.sum(jnp.square(images))
    return rows, _diagonal_of(rows, images, lanczos.multiply(rows, images.T))


def _krylov(quantity, operator, r, key):
    """The same for a Krylov space, where Lanczos has done all products."""

    def fresh(number):
        return _signs(jax.random.fold_in(key, number), operator)

    basis = jax.lax.fori_loop(
        0,
        r,
        lambda _, basis: lanczos.extend(operator.flat_matvec, basis, fresh),
        lanczos.begin(operator.size, r, operator.dtype),
    )
    rows, projected = basis.rows[:r], basis.projected
    if quantity == "trace":
        return rows, jnp.trace(projected)
    if quantity == "frobenius":
        return rows, jnp.sum(jnp.square(projected)) + jnp.square(basis.coupling)
    images = lanczos.multiply(projected, rows)
    images = images.at[-1].add(basis.coupling * basis.rows[r])
    return rows, _diagonal_of(rows, images, projected)


def _diagonal_of(rows, images, projected):
    """The diagonal of ``P A + A P - P A P``."""
    return jnp.sum(rows * (2 * images - lanczos.multiply(projected, rows)), axis=0)


def _signs(key, operator):
    """``(p,)`` independent signs, 32 from each random word."""
    words = jax.random.bits(key, (-(-operator.size // 32), 1), jnp.uint32)
    bits = (words >> jnp.arange(32, dtype=jnp.uint32)[None]) & 1
    return (1 - 2 * bits.astype(operator.dtype)).ravel()[: operator.size]
