"""Symmetric linear maps on the vector space of a parameter tree."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from jaxdl import tree
from jaxdl.types import Array, Params


@dataclass(frozen=True)
class Rule:
    """How an operator multiplies by the matrix that its data stand for.

    Rules hold functions and sizes, never arrays. Programs compiled for one rule serve
    every equal one.
    """

    def product(self, data: Any, vector: Params) -> Params:
        """``A v``."""
        raise NotImplementedError

    def form(self, data: Any, vector: Params) -> Array:
        """``<v, A v>``; overridden where that is cheaper than a product."""
        return tree.dot(vector, self.product(data, vector))


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["data"],
    meta_fields=["rule", "structure", "leaves"],
)
@dataclass(frozen=True, eq=False)
class LinearOperator:
    """A symmetric linear map A on a space of trees, such as a Hessian.

    Built by `hvp`, `ggn_vp`, `fisher_vp`, `empirical_fisher_vp`, `from_matrix` and
    `from_matvec`. It is a pytree whose leaves are the arrays that the map needs, so it
    crosses ``jit`` and ``vmap``. What takes an operator is compiled when it is called
    eagerly, once for all operators of the same functions and shapes. Symmetry is what
    all of it rests on; it is not checked.

    Attributes:
        data: Pytree of the arrays the map needs.
        rule: How to multiply with them.
        structure: Tree structure of the vectors v.
        leaves: Shape and dtype of each leaf of v.
    """

    data: Any
    rule: Rule
    structure: Any
    leaves: tuple[jax.ShapeDtypeStruct, ...]

    @property
    def size(self) -> int:
        """The dimension p of the space."""
        return tree.size(self.leaves)

    @property
    def dtype(self) -> Any:
        """What the leaves promote to: float32 or float64."""
        return jnp.result_type(*(leaf.dtype for leaf in self.leaves))

    def matvec(self, vector: Params) -> Params:
        """The product A v.

        Args:
            vector: Tree v, in the structure, shapes and dtypes of the space.

        Returns:
            A tree like v.

        Raises:
            ValueError: If ``vector`` is not in the space.
        """
        if message := not_in_space(self, vector=vector):
            raise ValueError(message)
        return _product(self, jax.tree.map(jnp.asarray, vector))

    def quadratic_form(self, vector: Params) -> Array:
        """The curvature along a direction, ``<v, A v>``.

        Args:
            vector: Tree v, in the structure, shapes and dtypes of the space.

        Returns:
            ``()``, in `dtype`.

        Raises:
            ValueError: If ``vector`` is not in the space.
        """
        if message := not_in_space(self, vector=vector):
            raise ValueError(message)
        return _form(self, jax.tree.map(jnp.asarray, vector))

    def flat_matvec(self, vector: Array) -> Array:
        """The product A v for v as one vector, ``(p,)`` to ``(p,)``."""
        return self.ravel(_product(self, self.unravel(vector)))

    def ravel(self, vector: Params) -> Array:
        """Concatenate a tree of the space into ``(p,)``, in `dtype`."""
        leaves = jax.tree.leaves(vector)
        return jnp.concatenate([jnp.ravel(leaf).astype(self.dtype) for leaf in leaves])

    def unravel(self, vector: Array) -> Params:
        """Rebuild a tree of the space from ``(p,)``.

        Args:
            vector: ``(p,)``.

        Returns:
            A tree in the structure, shapes and dtypes of the space.

        Raises:
            ValueError: If the length is not p.
        """
        if jnp.shape(vector) != (self.size,):
            raise ValueError(
                f"vector must have shape ({self.size},), got {jnp.shape(vector)}"
            )
        pieces, start = [], 0
        for leaf in self.leaves:
            piece = vector[start : start + leaf.size]
            pieces.append(piece.reshape(leaf.shape).astype(leaf.dtype))
            start += leaf.size
        return jax.tree.unflatten(self.structure, pieces)


def from_matvec(matvec: Callable[[Params], Params], like: Params) -> LinearOperator:
    """An operator from a function that multiplies by a symmetric matrix.

    Args:
        matvec: ``matvec(v) -> A v``, linear and symmetric (not checked). Programs are
            compiled anew for every function object; not so for
            ``jax.tree_util.Partial`` of one function and changing arrays.
        like: Tree in the structure, shapes and dtypes of v, such as the parameters;
            its values are not used.

    Returns:
        The operator.

    Raises:
        ValueError: If ``like`` has no entries, or leaves other than float32 or
            float64.

    Examples:
        >>> import jax.numpy as jnp
        >>> twice = from_matvec(lambda v: 2 * v, jnp.zeros(3))
        >>> print(twice.matvec(jnp.arange(3.0)), twice.size, twice.dtype)
        [0. 2. 4.] 3 float32
    """
    if message := not_a_space(like=like):
        raise ValueError(message)
    data = matvec if isinstance(matvec, Partial) else Partial(matvec)
    return on_space_of(like, data, _Call())


def from_matrix(matrix: Array) -> LinearOperator:
    """The operator of a symmetric matrix, on vectors ``(p,)``.

    Args:
        matrix: ``(p, p)``, p >= 1, symmetric (not checked), float32 or float64.

    Returns:
        The operator.

    Raises:
        ValueError: If ``matrix`` is not square or not of these dtypes.
    """
    matrix = jnp.asarray(matrix)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"matrix must be square, got shape {matrix.shape}")
    like = jax.ShapeDtypeStruct(matrix.shape[:1], matrix.dtype)
    if message := not_a_space(matrix=like):
        raise ValueError(message)
    return on_space_of(like, matrix, _Multiply())


def materialize(operator: LinearOperator) -> Array:
    """The matrix of an operator, by p products.

    Args:
        operator: Of size p; p^2 numbers must fit into memory.

    Returns:
        ``(p, p)``, in the order of ``operator.ravel``; symmetric up to rounding.
    """
    return _columns(operator)


def on_space_of(like: Params, data: Any, rule: Rule) -> LinearOperator:
    """An operator on the space of trees like a given one.

    Args:
        like: Tree in the structure, shapes and dtypes of the space.
        data: As in `LinearOperator`.
        rule: As in `LinearOperator`.

    Returns:
        The operator.
    """
    leaves, structure = jax.tree.flatten(like)
    shapes = tuple(jax.ShapeDtypeStruct(*_shape_and_dtype(leaf)) for leaf in leaves)
    return LinearOperator(data, rule, structure, shapes)


def not_a_space(**values: Params) -> str:
    """What to say of a tree whose shapes and dtypes make no vector space.

    Args:
        **values: The tree, by the argument's name.

    Returns:
        A message; empty where all is well.

    Examples:
        >>> not_a_space(params={"steps": 3})
        'params must have leaves of float32 or float64, got int32'
    """
    for name, value in values.items():
        leaves = [_shape_and_dtype(leaf) for leaf in jax.tree.leaves(value)]
        for _, dtype in leaves:
            if dtype not in (jnp.float32, jnp.float64):
                return f"{name} must have leaves of float32 or float64, got {dtype}"
        if not tree.size(value):
            return f"{name} must have at least one entry, got leaves {leaves}"
    return ""


def not_in_space(operator: LinearOperator, **values: Params) -> str:
    """What to say of a tree that is not in an operator's space.

    Args:
        operator: The operator.
        **values: The tree, by the argument's name.

    Returns:
        A message; empty where all is well.
    """
    wanted = [(leaf.shape, leaf.dtype) for leaf in operator.leaves]
    for name, value in values.items():
        leaves, structure = jax.tree.flatten(value)
        got = [_shape_and_dtype(leaf) for leaf in leaves]
        if structure != operator.structure or got != wanted:
            return (
                f"{name} must be a {operator.structure} of {wanted}, "
                f"got {structure} of {got}"
            )
    return ""


def _shape_and_dtype(leaf):
    """What places a leaf in a space."""
    return jnp.shape(leaf), jnp.result_type(leaf)


@jax.jit
def _product(operator, vector):
    """``A v``."""
    return operator.rule.product(operator.data, vector)


@jax.jit
def _form(operator, vector):
    """``<v, A v>``."""
    return operator.rule.form(operator.data, vector)


@jax.jit
def _columns(operator):
    """All columns, some at a time."""
    identity = jnp.eye(operator.size, dtype=operator.dtype)
    return jax.lax.map(operator.flat_matvec, identity, batch_size=64).T


class _Call(Rule):
    """The data are a function."""

    def product(self, data, vector):
        return data(vector)


class _Multiply(Rule):
    """The data are a matrix."""

    def product(self, data, vector):
        return jnp.matmul(data, vector, precision=jax.lax.Precision.HIGHEST)
