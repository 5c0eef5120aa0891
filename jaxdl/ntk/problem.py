"""What a kernel is asked of: function, parameters and inputs, checked."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.diagnostics.leaves import leaf_names
from jaxdl.types import Array, Params

OUTPUTS = ("full", "diagonal", "trace")


@dataclass(frozen=True)
class Problem:
    """A function with flat parameters and flat outputs, and the inputs."""

    outputs_of: Callable[[list[Array], Any], Array]  # (leaves, one example) -> (k,)
    leaves: list[Array]
    selected: tuple[int, ...]  # positions of the parameters that count
    layers: dict[str, tuple[int, ...]]  # those by layer
    x1: Any
    x2: Any  # None: x1
    k: int
    dtype: Any  # of the kernel


def pose(
    apply: Callable[[Params, Any], Any],
    params: Params,
    x1: Any,
    x2: Any,
    outputs: str,
    block_size: int | None,
    where: Any = None,
    *,
    differentiated: bool = True,
) -> Problem:
    """Check arguments and bring them to one form.

    Args:
        apply: ``apply(params, x)``, from ONE example to an array or a pytree of them.
        params: Pytree of arrays.
        x1: Pytree of arrays with n1 examples along the first axis.
        x2: The same with n2, or None.
        outputs: One of `OUTPUTS`.
        block_size: A positive integer or None.
        where: None, or a prefix of ``params`` with booleans: what counts.
        differentiated: Whether the parameters that count must be real numbers.

    Returns:
        The problem.

    Raises:
        ValueError: If an argument is not as said; the message names it.
    """
    check_choice("outputs", outputs, OUTPUTS)
    if block_size is not None and (
        not isinstance(block_size, int | np.integer)
        or isinstance(block_size, bool)
        or block_size < 1
    ):
        raise ValueError(
            f"block_size must be a positive integer or None, got {block_size!r}"
        )
    for message in (
        _not_examples("x1", x1),
        "" if x2 is None else _not_examples("x2", x2) or _not_alike(x1, x2),
    ):
        if message:
            raise ValueError(message)
    selected = _selected(params, where)
    if message := _not_parameters(params, selected if differentiated else ()):
        raise ValueError(message)
    if differentiated and not any(
        jnp.size(leaf)
        for leaf, counts in zip(jax.tree.leaves(params), selected, strict=True)
        if counts
    ):
        raise ValueError(
            "params must have at least one entry that counts, got none"
            + ("" if where is None else f" with where={where!r}")
        )
    leaves, structure = jax.tree.flatten(params)
    leaves = [jnp.asarray(leaf) for leaf in leaves]
    shapes = _outputs_of_one(apply, params, _example(x1))
    if message := _not_outputs(shapes):
        raise ValueError(message)
    parts = jax.tree.leaves(shapes)
    common = jnp.result_type(*(part.dtype for part in parts))

    def outputs_of(leaves, x):
        values = jax.tree.leaves(apply(jax.tree.unflatten(structure, leaves), x))
        flat = [jnp.ravel(value).astype(common) for value in values]
        return flat[0] if len(flat) == 1 else jnp.concatenate(flat)

    positions = tuple(
        i for i, counts in enumerate(selected) if counts and leaves[i].size
    )
    return Problem(
        outputs_of,
        leaves,
        positions,
        _layers(params, positions),
        x1,
        x2,
        sum(part.size for part in parts),
        jnp.promote_types(common, jnp.float32),
    )


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Refuse what is none of some words.

    Args:
        name: The argument's.
        value: What came.
        choices: What is expected.

    Raises:
        ValueError: If it is none of them.
    """
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}; got {value!r}")


def _not_examples(name, x):
    """What to say of inputs without one number of examples, at least one."""
    leaves = jax.tree.leaves(x)
    shapes = [jnp.shape(leaf) for leaf in leaves]
    if shapes and all(shapes) and {shape[0] for shape in shapes} == {shapes[0][0]}:
        return "" if shapes[0][0] else f"{name} must have examples, got shapes {shapes}"
    return (
        f"{name} must hold arrays with the same number of examples along their first "
        f"axis, got shapes {shapes}"
    )


def _not_alike(x1, x2):
    """What to say of two batches whose examples differ in form."""
    one, two = _example(x1), _example(x2)
    if jax.tree.structure(one) != jax.tree.structure(two):
        return (
            f"x2 must be a tree like x1, {jax.tree.structure(one)}; "
            f"got {jax.tree.structure(two)}"
        )
    if _shapes(one) != _shapes(two):
        return f"x2 must have examples of shape {_shapes(one)}, got {_shapes(two)}"
    return ""


def _selected(params, where):
    """Whether each leaf counts.

    Raises:
        ValueError: If ``where`` is no prefix with booleans.
    """
    if where is None:
        return [True] * len(jax.tree.leaves(params))
    try:
        chosen = jax.tree.leaves(jax.tree.broadcast(where, params))
    except ValueError as error:
        raise ValueError(
            "where must be None or a prefix of the tree params, "
            f"{jax.tree.structure(params)}; got {where!r}"
        ) from error
    for value in chosen:
        if not isinstance(value, bool | np.bool_):
            raise ValueError(f"where must hold booleans, got {value!r}")
    return [bool(value) for value in chosen]


def _not_parameters(params, selected):
    """What to say of parameters that have no derivative."""
    for i, (name, leaf) in enumerate(
        zip(leaf_names(params), jax.tree.leaves(params), strict=True)
    ):
        try:
            dtype = jnp.result_type(leaf)
        except (TypeError, ValueError):
            return f"params must hold arrays, got {name} = {leaf!r}"
        if (
            i < len(selected)
            and selected[i]
            and not jnp.issubdtype(dtype, jnp.floating)
        ):
            return (
                f"params must be real numbers where they count, got {name} of dtype "
                f"{dtype}; where can leave it out"
            )
    return ""


def _outputs_of_one(apply, params, example):
    """Shapes and dtypes of the outputs of one example.

    Raises:
        ValueError: If there are none because ``apply`` takes no single example.
    """
    try:
        return jax.eval_shape(apply, params, example)
    except Exception as error:
        shape = _shapes(example)
        first = (str(error).strip() or repr(error)).splitlines()[0]
        remedy = (
            "if it is written for batches, pass lambda params, x: "
            "apply(params, jax.tree.map(lambda a: a[None], x))[0]"
        )
        if _takes_batches(apply, params, example):
            remedy = (
                f"but not on a batch of one, so it is written for batches: {remedy}"
            )
            remedy = remedy.replace("if it is written for batches, ", "")
        raise ValueError(
            "apply must map ONE example to its outputs, but failed on an example of "
            f"shape {shape} (x1 without its first axis), {remedy}. "
            f"The failure was {type(error).__name__}: {first}"
        ) from error


def _takes_batches(apply, params, example):
    """Whether a batch of one example gives outputs with a first axis of length 1."""
    batch = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct((1, *a.shape), a.dtype), example
    )
    try:
        found = jax.tree.leaves(jax.eval_shape(apply, params, batch))
    except Exception:
        return False
    return bool(found) and all(leaf.shape[:1] == (1,) for leaf in found)


def _not_outputs(shapes):
    """What to say of outputs that have no derivative."""
    parts = jax.tree.leaves(shapes)
    for part in parts:
        if not jnp.issubdtype(part.dtype, jnp.floating):
            return f"apply must give real numbers, got outputs of dtype {part.dtype}"
    if not sum(part.size for part in parts):
        return f"apply must give at least one output, got {shapes}"
    return ""


def _layers(params, positions):
    """The leaves that count by the path above them."""
    layers: dict[str, tuple[int, ...]] = {}
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    for i in positions:
        above = paths[i][:-1] or paths[i]
        name = jax.tree_util.keystr(above, simple=True, separator="/") or "params"
        layers[name] = (*layers.get(name, ()), i)
    return layers


def _example(x):
    """The form of one example."""

    def form(leaf):
        return jax.ShapeDtypeStruct(jnp.shape(leaf)[1:], jnp.result_type(leaf))

    return jax.tree.map(form, x)


def _shapes(example):
    """The shapes of an example's arrays, in its tree."""
    return jax.tree.map(lambda leaf: leaf.shape, example)
