"""Look at integer labels before they go where no error can be raised."""

from typing import Any

import jax.numpy as jnp
import numpy as np


def check_labels(labels: Any, n_classes: int, name: str = "labels") -> None:
    """Refuse labels that are no class numbers.

    Inside a compiled program a label beyond the last class reads the last class, and a
    negative one counts from the end, with no error; so look before.

    Args:
        labels: Array of any shape; concrete, not traced.
        n_classes: The number of classes k; labels are 0..k-1.
        name: What to call them in the error.

    Raises:
        ValueError: If labels are not integers in 0..k-1; the message gives the first.

    Examples:
        >>> check_labels([1, 2, 3], 3)
        Traceback (most recent call last):
        ValueError: labels must lie in 0..2, got 3 at position 2
    """
    array = np.asarray(labels)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise ValueError(f"{name} must be integer classes, got dtype {array.dtype}")
    wrong = np.argwhere((array < 0) | (array >= n_classes))
    if len(wrong):
        where = tuple(wrong[0].tolist())
        place = where[0] if len(where) == 1 else where
        raise ValueError(
            f"{name} must lie in 0..{n_classes - 1}, got {array[where]} at position "
            f"{place}"
        )
