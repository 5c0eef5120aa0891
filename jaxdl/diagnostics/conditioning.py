"""How ill-conditioned a problem is: its data, and the curvature of its loss."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.curvature import (
    ConditionNumber,
    LinearOperator,
    condition_number,
    materialize,
)
from jaxdl.types import Key

_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class DataConditioning:
    """The spectrum of the matrix that least squares on some data descends on."""

    condition_number: float  # of X'X / n; infinite if the rank is not full
    on_its_range: float  # the same without the zero eigenvalues
    rank: int
    eigenvalues: np.ndarray  # (d,) of X'X / n, largest first


def data_conditioning(
    x: Any, *, centre: bool = False, bias: bool = False
) -> DataConditioning:
    """The condition number of the inputs, as gradient descent meets it.

    The Hessian of ``sum |X w - y|^2 / 2n`` is ``X'X / n``, whose eigenvalues are
    ``s_i^2 / n`` with s the singular values of X, and which is the Gauss-Newton matrix
    of a first layer up to what comes after it. Gradient descent at its best constant
    step takes about ``kappa / 2`` steps to shrink every error e-fold. Features of
    different size or with a mean far from 0, beside a bias, make kappa large;
    standardizing removes that, not correlations.

    Args:
        x: ``(n, ...)`` inputs, one example a row; flattened, and taken to float64.
        centre: Whether to subtract the mean of each feature first.
        bias: Whether to add a feature that is 1.

    Returns:
        Condition numbers and spectrum, in float64. Singular values up to
        ``max(n, d) eps`` times the largest count as zero. Data that are not finite have
        NaN.

    Raises:
        ValueError: If ``x`` has no rows, no features or is not real.

    Examples:
        >>> found = data_conditioning([[3.0, 0.0], [0.0, 1.0]])
        >>> print(round(found.condition_number, 6), found.rank)
        9.0 2
    """
    x = np.asarray(x)
    if x.ndim < 2 or 0 in x.shape:
        raise ValueError(
            f"x must be (n, ...) with examples and features, got {x.shape}"
        )
    if not (np.isrealobj(x) and x.dtype.kind in "fiub"):
        raise ValueError(f"x must be real, got dtype {x.dtype}")
    x = x.reshape(len(x), -1).astype(np.float64)
    if centre:
        x = x - x.mean(axis=0)
    if bias:
        x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    n, d = x.shape
    if not np.all(np.isfinite(x)):
        nan = float("nan")
        return DataConditioning(nan, nan, 0, np.full(d, nan))
    singular = np.linalg.svd(x, compute_uv=False)
    rank = int(np.sum(singular > max(n, d) * _EPS * singular[0]))
    values = np.zeros(d)
    values[:rank] = singular[:rank] ** 2 / n
    on_its_range = float(values[0] / values[rank - 1]) if rank else float("nan")
    whole = on_its_range if rank == d else float("inf")
    return DataConditioning(whole, on_its_range, rank, values)


def operator_conditioning(
    operator: LinearOperator,
    key: Key,
    *,
    dense_up_to: int = 500,
    tol: float = 1e-3,
) -> ConditionNumber:
    """The condition number of a Hessian or Gauss-Newton operator of any size.

    A small operator is formed, and its eigenvalues are computed in float64; they are as
    good as its products, ``p eps`` times the largest eigenvalue. A large one goes to
    `jaxdl.curvature.condition_number`.

    Args:
        operator: A, of size p, such as `jaxdl.curvature.hvp` or ``ggn_vp``; best in
            float64.
        key: PRNG key, for starting vectors.
        dense_up_to: The largest p to form a matrix for.
        tol: Relative error wanted, ``> 0``.

    Returns:
        Largest over smallest eigenvalue, by modulus, with its error; infinite, with 0
        as the smallest, if A is singular to within what can be told. Host scalars, if
        a matrix was formed.

    Raises:
        ValueError: If ``tol`` is not positive.

    Examples:
        >>> from jaxdl.curvature import from_matrix
        >>> operator = from_matrix(jnp.diag(jnp.array([4.0, -0.5, 1.0])))
        >>> found = operator_conditioning(operator, jax.random.key(0))
        >>> print(found.value, found.largest, found.smallest, found.converged)
        8.0 4.0 -0.5 True
    """
    if not tol > 0:
        raise ValueError(f"tol must be > 0, got {tol}")
    if operator.size > dense_up_to:
        return condition_number(operator, key, tol=tol)
    matrix = np.asarray(materialize(operator), np.float64)
    if not np.all(np.isfinite(matrix)):
        nan = np.float64("nan")
        return _host(nan, nan, nan, nan, np.False_)
    values = np.linalg.eigvalsh((matrix + matrix.T) / 2)
    values = values[np.argsort(-np.abs(values))]
    largest, smallest = values[0], values[-1]
    error = len(values) * float(jnp.finfo(operator.dtype).eps)
    if abs(smallest) <= error * abs(largest):
        zero = np.float64(0.0)
        return _host(np.float64("inf"), largest, zero, zero, np.True_)
    kappa = abs(largest / smallest)
    return _host(kappa, largest, smallest, error * (1 + kappa), error * kappa <= tol)


def _host(*numbers):
    """As in `condition_number`, computed here."""
    return ConditionNumber(*(jax.device_get(number) for number in numbers))
