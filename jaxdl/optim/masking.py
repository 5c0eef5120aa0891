"""Transform some leaves only, or each group of leaves in its own way."""

from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple

import jax

from jaxdl.optim.base import GradientTransformation, with_extra_args
from jaxdl.types import Params

Labels = Any
"""A tree of static values, of the structure of the parameters or a prefix of it."""


class MaskedNode(NamedTuple):
    """Stands where a leaf is masked out: a node without leaves."""


class MaskedState(NamedTuple):
    """The state of the inner transformation, for the leaves it sees."""

    inner_state: Any


class PartitionState(NamedTuple):
    """The state of each group's transformation."""

    inner_states: dict[Hashable, MaskedState]


def masked(
    inner: GradientTransformation, mask: Labels | Callable[[Params], Labels]
) -> GradientTransformation:
    """Transform the leaves where a mask is true; leave the others as they are.

    The inner transformation sees a `MaskedNode` in place of each other leaf, and
    keeps no state for it.

    Args:
        inner: A transformation of `jaxdl.optim` or of optax.
        mask: Tree of Python booleans, of the structure of the parameters or a prefix
            of it; or a function that makes one from the parameters or the updates.

    Returns:
        A transformation. Its ``init`` and ``update`` raise ValueError if the mask has
        another structure.

    Examples:
        >>> import jax.numpy as jnp
        >>> from jaxdl import optim
        >>> transform = masked(optim.scale(-1.0), {"w": True, "b": False})
        >>> updates = {"w": jnp.ones(2), "b": jnp.ones(2)}
        >>> updates, _ = transform.update(updates, transform.init(updates))
        >>> print(updates["w"], updates["b"])
        [-1. -1.] [1. 1.]
    """
    inner = with_extra_args(inner)

    def init(params):
        return MaskedState(inner.init(_keep(mask, params)))

    def update(updates, state, params=None, **extra):
        chosen = _labels_of(mask, updates)
        seen, inner_state = inner.update(
            _keep(chosen, updates),
            state.inner_state,
            None if params is None else _keep(chosen, params),
            **extra,
        )
        updates = jax.tree.map(
            lambda take, new, old: new if take else old, chosen, seen, updates
        )
        return updates, MaskedState(inner_state)

    return GradientTransformation(init, update)


def partition(
    transforms: Mapping[Any, GradientTransformation],
    labels: Labels | Callable[[Params], Labels],
) -> GradientTransformation:
    """Transform each group of leaves in its own way.

    Args:
        transforms: A transformation for each label.
        labels: Tree of labels, of the structure of the parameters or a prefix of it;
            or a function that makes one from the parameters or the updates.

    Returns:
        A transformation. Its ``init`` and ``update`` raise ValueError if a label has
        no transformation or the labels have another structure.

    Examples:
        >>> import jax.numpy as jnp
        >>> from jaxdl import optim
        >>> transform = partition({"slow": optim.scale(0.1), "fast": optim.scale(10.0)},
        ...                       {"w": "slow", "b": "fast"})
        >>> updates = {"w": jnp.ones(2), "b": jnp.ones(2)}
        >>> updates, _ = transform.update(updates, transform.init(updates))
        >>> print(updates["w"], updates["b"])
        [0.1 0.1] [10. 10.]
    """

    def groups(tree):
        tree = _labels_of(labels, tree)
        unknown = set(jax.tree.leaves(tree)) - set(transforms)
        if unknown:
            raise ValueError(
                f"no transformation for the labels {sorted(map(str, unknown))}; "
                f"there is one for {sorted(map(str, transforms))}"
            )
        return {
            group: masked(
                transform, jax.tree.map(lambda label, g=group: label == g, tree)
            )
            for group, transform in transforms.items()
        }

    def init(params):
        return PartitionState({
            group: part.init(params) for group, part in groups(params).items()
        })

    def update(updates, state, params=None, **extra):
        states = {}
        for group, part in groups(updates).items():
            updates, states[group] = part.update(
                updates, state.inner_states[group], params, **extra
            )
        return updates, PartitionState(states)

    return GradientTransformation(init, update)


def _labels_of(labels: Labels | Callable[[Params], Labels], tree: Params) -> Labels:
    """The labels for a tree: made by a function, or as they are."""
    # A tree of labels may be callable too, as the modules of some libraries are.
    is_leaf = jax.tree_util.treedef_is_leaf(jax.tree.structure(labels))
    return labels(tree) if callable(labels) and is_leaf else labels


def _keep(mask: Labels | Callable[[Params], Labels], tree: Params) -> Params:
    """The tree with `MaskedNode` where the mask is false.

    Raises:
        ValueError: If the mask is neither of the structure of the tree nor a prefix.
    """
    # Nothing to mask: also the placeholder that optax.tree.map_params calls init with.
    if not jax.tree.leaves(tree):
        return tree
    mask = _labels_of(mask, tree)
    try:
        return jax.tree.map(
            lambda take, branch: branch if take else MaskedNode(), mask, tree
        )
    except ValueError as error:
        raise ValueError(
            "mask or labels must have the structure of the parameters or a prefix of "
            f"it, {jax.tree.structure(tree)}; got {jax.tree.structure(mask)}"
        ) from error
