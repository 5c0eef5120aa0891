"""Operators from operators: sums, multiples, damping, blocks."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxdl import tree
from jaxdl.curvature.operators import LinearOperator, Rule
from jaxdl.types import Params, Scalar


def add(*operators: LinearOperator) -> LinearOperator:
    """The sum A + B + ...

    Args:
        *operators: One or more, on the same space.

    Returns:
        An operator on that space.

    Raises:
        ValueError: If there is none, or their spaces differ.
    """
    if not operators:
        raise ValueError("operators must name at least one operator, got none")
    first = operators[0]
    for other in operators[1:]:
        if (other.structure, other.leaves) != (first.structure, first.leaves):
            raise ValueError(
                "operators must act on the same space, got "
                f"{first.structure} of {first.leaves} and "
                f"{other.structure} of {other.leaves}"
            )
    return LinearOperator(operators, _Sum(), first.structure, first.leaves)


def scale(factor: Scalar, operator: LinearOperator) -> LinearOperator:
    """The multiple c A.

    Args:
        factor: c; may be traced.
        operator: A.

    Returns:
        An operator on the same space.
    """
    data = (factor, operator)
    return LinearOperator(data, _Scale(), operator.structure, operator.leaves)


def damp(operator: LinearOperator, damping: Scalar) -> LinearOperator:
    """The damped operator A + c I.

    Args:
        operator: A.
        damping: c, in the units of the eigenvalues; may be traced.

    Returns:
        An operator on the same space.
    """
    data = (operator, damping)
    return LinearOperator(data, _Damp(), operator.structure, operator.leaves)


def restrict(
    operator: LinearOperator, select: Callable[[Params], Params]
) -> LinearOperator:
    """The block of A that belongs to a part of the tree, such as one layer.

    It is the principal submatrix S A S^T, where S takes that part. A product costs as
    much as one with A; the operator of a loss that takes only this part is cheaper.

    Args:
        operator: A.
        select: From the tree to the wanted part of it, made of some of its leaves as
            they are; such as ``lambda params: params[0]``.

    Returns:
        An operator on trees of that part.

    Raises:
        ValueError: If ``select`` gives no leaves, or anything but leaves of the tree,
            each at most once.

    Examples:
        >>> from jaxdl.curvature.operators import from_matvec, materialize
        >>> params = {"w": jnp.ones(2), "b": jnp.ones(1)}
        >>> def matvec(v):
        ...     return {"w": v["w"] + v["b"], "b": jnp.sum(v["w"], keepdims=True)}
        >>> block = restrict(from_matvec(matvec, params), lambda params: params["w"])
        >>> print(materialize(block))
        [[1. 0.]
         [0. 1.]]
    """
    numbers = range(len(operator.leaves))
    part = select(jax.tree.unflatten(operator.structure, numbers))
    chosen, structure = jax.tree.flatten(part)
    each_once = chosen and len({*map(id, chosen)}) == len(chosen)
    if not each_once or not all(
        isinstance(number, int) and number in numbers for number in chosen
    ):
        raise ValueError(
            "select must return leaves of the tree it gets, at least one and each at "
            f"most once; got {part} from leaves numbered 0..{len(numbers) - 1}"
        )
    leaves = tuple(operator.leaves[number] for number in chosen)
    return LinearOperator(operator, _Block(tuple(chosen)), structure, leaves)


class _Sum(Rule):
    """The data are operators."""

    def product(self, data, vector):
        total, *others = (operator.matvec(vector) for operator in data)
        for other in others:
            total = tree.add(total, other)
        return total

    def form(self, data, vector):
        total, *others = (operator.quadratic_form(vector) for operator in data)
        for other in others:
            total = total + other
        return total


class _Scale(Rule):
    """The data are a factor and an operator."""

    def product(self, data, vector):
        factor, operator = data
        return tree.scale(factor, operator.matvec(vector))

    def form(self, data, vector):
        factor, operator = data
        return tree.scale(factor, operator.quadratic_form(vector))


class _Damp(Rule):
    """The data are an operator and a damping."""

    def product(self, data, vector):
        operator, damping = data
        return tree.add_scaled(operator.matvec(vector), damping, vector)

    def form(self, data, vector):
        operator, damping = data
        square = tree.dot(vector, vector)
        return tree.add_scaled(operator.quadratic_form(vector), damping, square)


@dataclass(frozen=True)
class _Block(Rule):
    """The data are the operator of the whole space."""

    chosen: tuple[int, ...]  # the leaves of the whole that make up v

    def product(self, data, vector):
        leaves = jax.tree.leaves(data.matvec(self._padded(data, vector)))
        part = [leaves[number] for number in self.chosen]
        return jax.tree.unflatten(jax.tree.structure(vector), part)

    def form(self, data, vector):
        return data.quadratic_form(self._padded(data, vector))

    def _padded(self, operator, vector):
        """Zeros in the leaves that were not chosen."""
        padded = [jnp.zeros(leaf.shape, leaf.dtype) for leaf in operator.leaves]
        for number, leaf in zip(self.chosen, jax.tree.leaves(vector), strict=True):
            padded[number] = leaf
        return jax.tree.unflatten(operator.structure, padded)
