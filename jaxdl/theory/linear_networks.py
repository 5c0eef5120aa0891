"""Critical points of deep linear networks: all of them, with loss and index."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class LinearNetworkPoint(NamedTuple):
    """One class of critical points, named by the modes it has learned."""

    modes: tuple[int, ...]  # places of the learned singular values, ascending
    loss: float
    negative: int  # the index: negative eigenvalues of the Hessian
    zero: int | None  # zero eigenvalues; None for a depth of three or more
    kind: str  # "minimum", "strict saddle" or "non-strict saddle"

    @property
    def rank(self) -> int:
        """Of the product of the weights: the number of learned modes."""
        return len(self.modes)


def linear_network_critical_points(
    target: ArrayLike, hidden: Sequence[int]
) -> list[LinearNetworkPoint]:
    """All critical points of a linear network, with loss and index.

    The loss is ``|M - W_L ... W_1|^2 / 2`` with M of rank rho and singular values s; on
    whitened inputs and outputs, that of linear regression. At a critical point the
    product is M with some of its modes alone: a set I of r singular values, r at most
    the narrowest hidden layer p. With two layers::

        loss     = sum_{j not in I} s_j^2 / 2
        negative = #{i in I, j not in I: s_j > s_i} + (p - r) (rho - r)
        zero     = r^2 + (p - r) (2 r + d_o + d_i - 2 rho) + equal pairs

    So each that has not learned the largest modes it can is a strict saddle. With three
    or more layers these are the points without weights besides those of the learned
    modes (`linear_network_point`): the second term of ``negative`` is gone, and points
    whose modes are the largest, but not as many as there could be, are saddles that the
    Hessian does not show.

    Each set stands for a manifold: `linear_network_point` moved by invertible matrices
    between the layers. There are others of three layers or more, of the same loss, that
    have weights on dead paths, and may have more negative eigenvalues. Where singular
    values are equal, the modes may be turned among them.

    Args:
        target: ``(d_o, d_i)`` M, or the vector of its singular values; it is computed
            with in NumPy, in float64. Singular values below ``max(d_o, d_i) eps`` times
            the largest are zero, and a few times that apart, equal. A vector stands for
            a diagonal M.
        hidden: Widths of the hidden layers, one or more; the list grows as 2^rho.

    Returns:
        One entry a set, by rank, then in lexicographic order; places count the singular
        values from the largest.

    Raises:
        ValueError: If the target is no finite matrix or vector of numbers ``>= 0``, or
            the widths are not positive integers.

    References:
        Baldi, Hornik (1989), Neural networks and principal component analysis: learning
        from examples without local minima, Neural Networks 2(1), 53-58. Kawaguchi
        (2016), Deep learning without poor local minima.
        https://arxiv.org/abs/1605.07110

    Examples:
        >>> for point in linear_network_critical_points([2.0, 1.0], [1]):
        ...     print(point.modes, point.loss, point.negative, point.kind)
        () 2.5 2 strict saddle
        (0,) 0.5 0 minimum
        (1,) 2.0 1 strict saddle
    """
    if message := _misfit(target, hidden):
        raise ValueError(message)
    matrix, narrowest = _matrix(target), min(hidden)
    values = np.linalg.svd(matrix, compute_uv=False)
    s = values[values > max(matrix.shape) * np.finfo(float).eps * values[0]]
    most = min(narrowest, len(s))
    return [
        _point(s, modes, narrowest, matrix.shape, len(hidden) + 1, most)
        for r in range(most + 1)
        for modes in itertools.combinations(range(len(s)), r)
    ]


def linear_network_point(
    target: ArrayLike, hidden: Sequence[int], modes: Sequence[int]
) -> tuple[np.ndarray, ...]:
    """Weights of a critical point: the learned modes, balanced, and zeros.

    With ``M = U diag(s) V'``, hidden unit k of each layer carries the k-th learned
    mode: ``s_i^(1/L) v_i'`` in the first layer, ``s_i^(1/L) u_i`` in the last, and
    ``s_i^(1/L)`` between them.

    Args:
        target: As in `linear_network_critical_points`.
        hidden: As in `linear_network_critical_points`.
        modes: Places of the singular values to learn, from the largest, each once; at
            most as many as the narrowest layer has units.

    Returns:
        ``W_1 (h_1, d_i)`` to ``W_L (d_o, h_(L-1))``, float64: the network is
        ``W_L ... W_1 x``.

    Raises:
        ValueError: If the target or the widths are not as described, or there are no
            such modes.

    Examples:
        >>> first, last = linear_network_point([4.0, 1.0], [3], [0])
        >>> print(abs(last @ first))
        [[4. 0.]
         [0. 0.]]
    """
    if message := _misfit(target, hidden):
        raise ValueError(message)
    matrix, widths = _matrix(target), tuple(hidden)
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    chosen, r = list(modes), len(modes)
    if len({*chosen}) != r or any(not 0 <= i < len(s) for i in chosen):
        raise ValueError(f"modes must be different, in 0..{len(s) - 1}, got {modes}")
    if r > min(widths):
        raise ValueError(f"modes must be at most {min(widths)}, got {r} of them")
    root = s[chosen] ** (1 / (len(widths) + 1))
    sizes = (matrix.shape[1], *widths, matrix.shape[0])
    weights = [np.zeros((out, into)) for into, out in itertools.pairwise(sizes)]
    weights[0][:r] = root[:, None] * vt[chosen]
    for middle in weights[1:-1]:
        middle[np.arange(r), np.arange(r)] = root
    weights[-1][:, :r] = u[:, chosen] * root
    return tuple(weights)


def _point(s, modes, p, shape, depth, most) -> LinearNetworkPoint:
    """The counts of one set."""
    r, rho = len(modes), len(s)
    rest = np.delete(s, modes)
    learned = s[list(modes)]
    gaps = rest[None] - learned[:, None]
    noise = 4 * max(shape) * np.finfo(float).eps * s[0] if rho else 0.0
    above, ties = int(np.sum(gaps > noise)), int(np.sum(np.abs(gaps) <= noise))
    negative = above + ((p - r) * (rho - r) if depth == 2 else 0)
    loss = float(np.sum(rest**2) / 2)
    zero = r**2 + (p - r) * (2 * r + sum(shape) - 2 * rho) + ties
    if r == most and not above:
        kind = "minimum"
    else:
        kind = "strict saddle" if negative else "non-strict saddle"
    return LinearNetworkPoint(modes, loss, negative, zero if depth == 2 else None, kind)


def _matrix(target: ArrayLike) -> np.ndarray:
    """The target as a matrix."""
    matrix = np.asarray(target, np.float64)
    return np.diag(matrix) if matrix.ndim == 1 else matrix


def _misfit(target: ArrayLike, hidden: Sequence[int]) -> str:
    """What is wrong with the arguments of both functions, or an empty string."""
    matrix = np.asarray(target, np.float64)
    vector = matrix.ndim == 1 and bool(np.all(matrix >= 0))
    if (
        not (vector or matrix.ndim == 2)
        or not matrix.size
        or not np.all(np.isfinite(matrix))
    ):
        return (
            "target must be a finite matrix, or a vector of singular values >= 0, got "
            f"{target!r}"
        )
    if not hidden or any(not isinstance(h, int) or h < 1 for h in hidden):
        return f"hidden must be positive integers, got {hidden!r}"
    return ""
