"""Kernels by a rule for each use of each parameter."""

from collections.abc import Callable, Sequence
from typing import Any

from jaxdl.ntk import jacobian
from jaxdl.types import Array


def kernels(
    outputs_of: Callable[[list[Array], Any], Array],
    leaves: list[Array],
    groups: Sequence[Sequence[int]],
    x1: Any,
    x2: Any,
    outputs: str,
) -> list[Array]:
    """Kernels of groups of parameters; for now by Jacobians."""
    return jacobian.kernels(outputs_of, leaves, groups, x1, x2, outputs)
