"""How a number of steps falls with the batch size."""

import numpy as np


def critical_size(sizes: np.ndarray, steps: np.ndarray, fewest: float) -> float:
    """The batch size at which twice the fewest steps are needed.

    Where ``steps = fewest (1 + b / S)``, as in McCandlish et al. (2018),
    https://arxiv.org/abs/1812.06162, equation 2.11, this is b.

    Args:
        sizes: ``(b,)`` batch sizes, ascending.
        steps: ``(b,)`` steps to a target, which fall with the size.
        fewest: Steps that no batch size goes below.

    Returns:
        The size, between two neighbours on a line in log-log; NaN where the steps do
        not cross twice the fewest.

    Examples:
        >>> sizes = np.array([1.0, 10.0, 100.0, 1000.0])
        >>> print(f"{critical_size(sizes, 50 * (1 + 10 / sizes), 50.0):.4f}")
        10.0000
    """
    above = np.flatnonzero(steps > 2 * fewest)
    if not len(above) or above[-1] + 1 == len(sizes):
        return float("nan")
    pair = slice(above[-1], above[-1] + 2)
    x, y = np.log(sizes[pair]), np.log(steps[pair] / (2 * fewest))
    return float(np.exp(x[0] - y[0] * (x[1] - x[0]) / (y[1] - y[0])))


def slopes(sizes: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Slopes of log steps in log size between neighbours.

    Args:
        sizes: ``(b,)`` batch sizes, ascending.
        steps: ``(b,)`` positive.

    Returns:
        ``(b - 1,)``: -1 where twice the batch halves the steps, 0 where it saves none.

    Examples:
        >>> print(slopes(np.array([1.0, 2.0, 4.0]), np.array([80.0, 40.0, 40.0])))
        [-1.  0.]
    """
    return np.diff(np.log(steps)) / np.diff(np.log(sizes))
