"""Symmetries of a network's parameters, as data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl.types import Array, Params


@dataclass(frozen=True)
class Group:
    """What may be done to the units of one layer.

    Args:
        size: Number of units m, ``>= 1``.
        permutes: Whether the units may change places.
        signs: Whether each unit may change its sign.
        scales: Whether each unit may be multiplied by a positive number.
        follows: Name of the group whose units these are, for factors that a layer has
            besides its own, such as the scales that batch normalization removes; such
            a group does not permute.

    Raises:
        ValueError: If it does nothing, or the size is not a positive integer.
    """

    size: int
    permutes: bool = True
    signs: bool = False
    scales: bool = False
    follows: str | None = None

    def __post_init__(self) -> None:
        """Reject what is no group of units.

        Raises:
            ValueError: Which argument is wrong.
        """
        if not isinstance(self.size, int) or self.size < 1:
            raise ValueError(f"size must be a positive integer, got {self.size!r}")
        if not (self.permutes or self.signs or self.scales):
            raise ValueError("a group must have permutes, signs or scales")
        if self.follows is not None and self.permutes:
            raise ValueError(
                f"a group that follows another must have permutes=False, got {self}"
            )

    @property
    def factors(self) -> bool:
        """Whether units are multiplied by anything."""
        return self.signs or self.scales


@dataclass(frozen=True)
class Axis:
    """One axis of one parameter, and the group that acts on it.

    Args:
        leaf: The parameter's name, as `leaf_names` gives it.
        axis: Number of the axis, from 0.
        group: Name of the group.
        power: The entries of a unit are multiplied by its factor to this power: 1 for
            weights into the unit and its bias, -1 for weights out of it, 2 for a
            variance, 0 if they stay.
        inner: How many neighbours on the axis belong to one unit, as when an axis
            ``(channels, height, width)`` was flattened: ``height * width``.
        outer: How often the units are repeated on it, as when an axis
            ``(height, width, channels)`` was flattened: ``height * width``.

    Raises:
        ValueError: If a number lies outside its domain.
    """

    leaf: str
    axis: int
    group: str
    power: int = 0
    inner: int = 1
    outer: int = 1

    def __post_init__(self) -> None:
        """Reject numbers outside their domains.

        Raises:
            ValueError: Which number.
        """
        for name, least in (("axis", 0), ("inner", 1), ("outer", 1)):
            number = getattr(self, name)
            if not isinstance(number, int) or number < least:
                raise ValueError(f"{name} must be an integer >= {least}, got {number}")
        if not isinstance(self.power, int):
            raise ValueError(f"power must be an integer, got {self.power!r}")


@jax.tree_util.register_static
@dataclass(frozen=True)
class Symmetry:
    """A group that acts on parameters and leaves the network's function alone.

    It is the product of the `Group` of each layer; an `Axis` says where in the
    parameters a group acts. Several axes share a group: weights into units, their
    biases, weights out of them, and, where layers are joined by skip connections, the
    weights of all of these. That a declaration is right is nothing that it can know:
    `check_symmetry` compares the function.

    It is static: an argument of its kind needs no ``static_argnums`` under ``jit`` and
    has no axis under ``vmap``.

    Args:
        groups: Name to group, in an order in which signals pass, if there is one.
        axes: Where the groups act. Parameters that are not named stay as they are.
        statistics: Names of parameters that are averages over data, such as the
            running mean and variance of batch normalization. They are moved with the
            others, but do not count where parameters are compared.

    Raises:
        ValueError: If an axis names no group, two groups permute one axis, or a group
            multiplies what another permutes without following it.

    Examples:
        A layer of five tanh units, each of which may change places or sign:

        >>> symmetry = Symmetry(
        ...     {"hidden": Group(5, signs=True)},
        ...     [
        ...         Axis("in", 1, "hidden", power=1),
        ...         Axis("bias", 0, "hidden", power=1),
        ...         Axis("out", 0, "hidden", power=-1),
        ...     ],
        ... )
    """

    groups: Mapping[str, Group] | tuple[tuple[str, Group], ...]
    axes: Sequence[Axis]
    statistics: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Freeze the fields and see whether they fit.

        Raises:
            ValueError: What does not.
        """
        object.__setattr__(self, "groups", tuple(dict(self.groups).items()))
        object.__setattr__(self, "axes", tuple(self.axes))
        object.__setattr__(self, "statistics", tuple(self.statistics))
        groups = self.by_name
        for name, group in groups.items():
            leader = groups.get(group.follows) if group.follows is not None else group
            if leader is None or leader.size != group.size:
                raise ValueError(
                    f"groups: {name!r} must follow a group of its size, got "
                    f"{group.follows!r}"
                )
        on_axis: dict[tuple[str, int], list[str]] = {}
        for axis in self.axes:
            if axis.group not in groups:
                raise ValueError(f"axes: {axis} names none of the groups {[*groups]}")
            on_axis.setdefault((axis.leaf, axis.axis), []).append(axis.group)
        for place, names in on_axis.items():
            permuting = [name for name in names if groups[name].permutes]
            if len(permuting) > 1:
                raise ValueError(
                    f"axes: one group may permute axis {place[1]} of {place[0]!r}, "
                    f"got {permuting}"
                )
            for name in names:
                if permuting and name != permuting[0]:
                    leader = groups[name].follows
                    if leader != permuting[0]:
                        raise ValueError(
                            f"groups: {name!r} acts on what {permuting[0]!r} permutes "
                            f"and must follow it, got {leader!r}"
                        )

    @property
    def by_name(self) -> dict[str, Group]:
        """The groups."""
        return dict(self.groups)

    def axes_of(self, leaf: str) -> tuple[Axis, ...]:
        """Where groups act on a parameter."""
        return tuple(axis for axis in self.axes if axis.leaf == leaf)


def leaf_names(params: Params) -> dict[str, Array]:
    """The parameters by name: the path to each in its tree, with slashes between.

    Args:
        params: Tree of arrays.

    Returns:
        Name to array, in the order of the leaves.

    Examples:
        >>> from jaxdl.models import mlp
        >>> [*leaf_names(mlp.init(jax.random.key(0), (2, 3, 1)))]
        ['0/kernel', '0/bias', '1/kernel', '1/bias']
    """
    return {_name(path): leaf for path, leaf in jax.tree.leaves_with_path(params)}


def map_named(function: Any, params: Params, *rest: Params) -> Params:
    """``function(name, leaf, ...)`` of all leaves, as a tree like ``params``."""
    return jax.tree.map_with_path(
        lambda path, *leaves: function(_name(path), *leaves), params, *rest
    )


def check_fits(symmetry: Symmetry, params: Params, name: str = "params") -> None:
    """Reject parameters that a symmetry is not declared for.

    Args:
        symmetry: What is declared.
        params: Tree of arrays; only shapes are looked at.
        name: What the caller calls the parameters.

    Raises:
        ValueError: If there is no parameter of a name, or an axis has another length.
    """
    shapes = {leaf: jnp.shape(value) for leaf, value in leaf_names(params).items()}
    groups = symmetry.by_name
    for leaf in symmetry.statistics:
        if leaf not in shapes:
            raise ValueError(f"{name} must have {leaf!r}, got {[*shapes]}")
    for axis in symmetry.axes:
        if axis.leaf not in shapes:
            raise ValueError(f"{name} must have {axis.leaf!r}, got {[*shapes]}")
        shape = shapes[axis.leaf]
        length = axis.outer * groups[axis.group].size * axis.inner
        if axis.axis >= len(shape) or shape[axis.axis] != length:
            raise ValueError(
                f"{name}: axis {axis.axis} of {axis.leaf!r} must have length {length}, "
                f"got shape {shape}"
            )


def check_pair(params_a: Params, params_b: Params, name: str = "params_b") -> None:
    """Reject two sets of parameters that are not of one form.

    Args:
        params_a: Tree of arrays.
        params_b: Another; only shapes are looked at.
        name: What the caller calls the second.

    Raises:
        ValueError: If names or shapes differ.
    """
    a, b = (
        {leaf: jnp.shape(value) for leaf, value in leaf_names(params).items()}
        for params in (params_a, params_b)
    )
    if a != b:
        raise ValueError(f"{name} must have the shapes of params_a, {a}, got {b}")


def _name(path) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
