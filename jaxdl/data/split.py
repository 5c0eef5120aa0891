"""Cut a set at random into training and test rows."""

import jax
import numpy as np

from jaxdl.data.dataset import Dataset, Table
from jaxdl.types import Array, Key


def split_indices(key: Key, n: int, n_train: int) -> tuple[Array, Array]:
    """A random cut of the rows 0..n-1 in two.

    With one key the training rows of a smaller ``n_train`` are the first training
    rows of a larger one, so training sets of growing size are nested.

    Args:
        key: PRNG key.
        n: Rows in all, a Python integer.
        n_train: Rows to train on, a Python integer in 1..n-1.

    Returns:
        Training rows ``(n_train,)`` and test rows ``(n - n_train,)``, in random
        order.

    Raises:
        ValueError: If ``n_train`` is not in 1..n-1.

    Examples:
        >>> train, test = split_indices(jax.random.key(0), 10, 7)
        >>> sorted(train.tolist() + test.tolist())
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """
    if not 1 <= n_train < n:
        raise ValueError(f"n_train must lie in 1..{n - 1} for {n} rows, got {n_train}")
    order = jax.random.permutation(key, n)
    return order[:n_train], order[n_train:]


def split(key: Key, table: Table, n_train: int) -> Dataset:
    """Cut a set at random into training and test rows, on the host.

    The classes are balanced on average only. Nothing is rescaled: fit
    `standardize_fit` on the training rows.

    Args:
        key: PRNG key; not traced.
        table: x ``(n, ...)`` and y ``(n,)``. Integer targets are classes 0..k-1.
        n_train: Rows to train on, 1..n-1; the others are for testing.

    Returns:
        The two parts, in NumPy, dtypes kept; for integer targets ``classes`` is
        0..k-1, counted over the whole set.

    Raises:
        ValueError: If ``n_train`` is not in 1..n-1, x and y differ in length, or
            integer targets are not numbered 0..k-1.

    Examples:
        >>> from jaxdl.data import xor
        >>> data = split(jax.random.key(0), xor(), 3)
        >>> data.x_train.shape, data.y_test.shape, data.classes.tolist()
        ((3, 2), (1,), [0, 1])
    """
    x, y = np.asarray(table.x), np.asarray(table.y)
    if x.ndim < 1 or y.ndim != 1 or len(x) != len(y):
        raise ValueError(f"expected x (n, ...) and y (n,), got {x.shape} and {y.shape}")
    classes = None
    if np.issubdtype(y.dtype, np.integer):
        classes = np.unique(y)
        if not np.array_equal(classes, np.arange(len(classes))):
            raise ValueError(
                f"integer targets must be classes numbered 0..k-1, got {classes}"
            )
    train, test = (np.asarray(rows) for rows in split_indices(key, len(x), n_train))
    return Dataset(x[train], y[train], x[test], y[test], classes)
