"""What the leaves of a parameter tree are called."""

from typing import Any

import jax


def leaf_names(tree: Any, root: str = "params") -> list[str]:
    """The name of each leaf, as one would write it in Python.

    Args:
        tree: Any pytree.
        root: What the tree itself is called.

    Returns:
        One name a leaf, in the order of ``jax.tree.leaves``.

    Examples:
        >>> leaf_names({"w": 1.0, "layers": [2.0, 3.0]})
        ["params['layers'][0]", "params['layers'][1]", "params['w']"]
    """
    paths, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [root + jax.tree_util.keystr(path) for path, _ in paths]
