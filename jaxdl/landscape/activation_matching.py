"""Matching by what units do, not by their weights."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxdl.landscape.blocks import Scores
from jaxdl.landscape.descent import as_element, best_units
from jaxdl.landscape.matching import Matching, Start
from jaxdl.landscape.symmetry import Symmetry


def match_activations(
    symmetry: Symmetry,
    activations_a: Mapping[str, Any] | Sequence[Any],
    activations_b: Mapping[str, Any] | Sequence[Any],
    *,
    correlation: bool = False,
    scales: bool = False,
) -> Matching:
    """The element that brings one network's activations closest to another's.

    On the same examples. Each group is an assignment problem of its own, whose optimum
    is exact: the largest sum over units of ``sum_n a[n, i] b[n, p[i]]``, or of their
    correlations; where units have signs, of the absolute values.

    Args:
        symmetry: What is declared.
        activations_a: ``(n, ..., m)`` by name of the group, units last, or in the order
            of the groups that permute or have signs, such as the second result of
            ``vmap(mlp.apply_with_activations)``. All axes but the last are examples.
            Of a group whose units have signs, they must change sign with them.
        activations_b: The same of the network that moves.
        correlation: Whether to compare correlations in place of products. A unit that
            never changes has none with any other.
        scales: Whether to set the scales, where there are such, to the ratio of the
            activations' root mean squares; one where either is zero.

    Returns:
        As `match_weights`, with one record; optimal, for the activations.

    Raises:
        ValueError: If there is a group without activations, or shapes do not fit.

    References:
        Li et al. (2016), Convergent learning: do different neural networks learn the
        same representations? https://arxiv.org/abs/1511.07543
    """
    groups = symmetry.by_name
    matched = {n: g for n, g in groups.items() if g.permutes or g.signs}
    a, b = (
        _by_group(matched, name, given)
        for name, given in (
            ("activations_a", activations_a),
            ("activations_b", activations_b),
        )
    )
    state, factors, total, first = {}, {}, 0.0, 0.0
    for name, group in matched.items():
        if a[name].shape != b[name].shape:
            raise ValueError(
                f"activations_b[{name!r}] must be as those of a, {a[name].shape}, "
                f"got {b[name].shape}"
            )
        products = _compared(a[name], b[name], correlation)
        if group.signs:
            even, odd = 0.0, products
        else:
            even, odd = products, 0.0
        followed = state[group.follows].order if group.follows in state else None
        state[name] = units = best_units(group, Scores(even, odd), followed)
        pairs = products[np.arange(group.size), units.order]
        total += float(np.sum(pairs * units.signs[units.order]))
        first += float(np.trace(products))
        sizes = [np.sqrt(np.mean(x[name] ** 2, axis=0)) for x in (a, b)]
        ratio = np.ones(group.size)
        if scales and group.scales:
            pairs_exist = (sizes[0] > 0) & (sizes[1][units.order] > 0)
            divisor = np.where(pairs_exist, sizes[1][units.order], 1)
            ratio[units.order] = np.where(pairs_exist, sizes[0] / divisor, 1)
        factors[name] = ratio
    element = as_element(symmetry, state, jnp.result_type(float), factors)
    record = Start("activations", first, total, 1, converged=True)
    return Matching(element, total, (record,), optimal=True)


def _by_group(groups, name, given) -> dict[str, np.ndarray]:
    """Activations as ``(examples, m)`` in float64, by group.

    Raises:
        ValueError: If a group has none, or of another size.
    """
    if not isinstance(given, Mapping):
        if len(given) != len(groups):
            raise ValueError(
                f"{name} must be one array for each of {[*groups]}, got {len(given)}"
            )
        given = dict(zip(groups, given, strict=True))
    arrays = {}
    for group_name, group in groups.items():
        if group_name not in given:
            raise ValueError(f"{name} must have {group_name!r}, got {[*given]}")
        array = np.asarray(given[group_name], np.float64)
        if array.ndim < 2 or array.shape[-1] != group.size:
            raise ValueError(
                f"{name}[{group_name!r}] must be (n, ..., {group.size}), "
                f"got {array.shape}"
            )
        arrays[group_name] = array.reshape(-1, group.size)
    return arrays


def _compared(a: np.ndarray, b: np.ndarray, correlation: bool) -> np.ndarray:
    """Products or correlations of all pairs of units, ``(m, m)``."""
    if not correlation:
        return a.T @ b
    normed = []
    for x in (a, b):
        centred = x - x.mean(0)
        size = np.linalg.norm(centred, axis=0)
        normed.append(centred / np.where(size > 0, size, 1))
    return normed[0].T @ normed[1]
