"""What every source of data returns: a whole set, or one cut into two parts."""

from typing import NamedTuple

import numpy as np

from jaxdl.types import Array


class Table(NamedTuple):
    """Inputs and targets of a whole set, one example a row.

    What is loaded is NumPy, float64 and int64; what is generated from a key is JAX.
    """

    x: np.ndarray | Array  # (n, ...) inputs, floating point
    y: np.ndarray | Array  # (n,) integer classes 0..k-1, or (n,) floating targets


class Dataset(NamedTuple):
    """A set cut into examples to learn from and examples to judge by, in NumPy.

    ``len(dataset.classes)`` is k, the number of outputs a classifier needs.
    """

    x_train: np.ndarray  # (n_train, ...) inputs
    y_train: np.ndarray  # (n_train,) int64 classes 0..k-1, or float64 targets
    x_test: np.ndarray  # (n_test, ...)
    y_test: np.ndarray  # (n_test,)
    classes: np.ndarray | None = None  # (k,) original labels; None for regression
