"""What a function of one example takes and returns, found without computing."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.curvature.operators import not_a_space
from jaxdl.types import Array, Params

Apply = Callable[[Params, Any], Any]
"""``apply(params, x) -> outputs`` for one example: an array or a pytree of arrays."""


class Outputs(NamedTuple):
    """The outputs of n examples, k each."""

    n: int
    k: int
    dtype: Any


def examine(apply: Apply, params: Params, x: Any, name: str = "x") -> Outputs:
    """Check a function of one example against parameters and examples.

    Args:
        apply: ``apply(params, x) -> outputs`` for one example.
        params: Pytree of float32 or float64 arrays.
        x: Array or pytree of arrays with the n examples along their first axis.
        name: What the message calls ``x``.

    Returns:
        How many examples and outputs there are.

    Raises:
        ValueError: If ``params`` has other leaves or none, ``x`` no examples, or
            ``apply`` does not map one example to arrays of float32 or float64.
    """
    if message := not_a_space(params=params):
        raise ValueError(message)
    lengths = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(x)}
    if len(lengths) != 1 or lengths & {(), (0,)}:
        raise ValueError(
            f"{name} must hold arrays with the same number of examples, at least one, "
            f"along their first axis; got lengths {sorted(lengths)}"
        )
    batch = jax.tree.map(_shaped, x)
    one = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), batch)
    params = jax.tree.map(_shaped, params)
    try:
        outputs = jax.eval_shape(apply, params, one)
    except Exception as error:
        if _takes(apply, params, batch):
            raise ValueError(
                "apply must map one example to its outputs, but takes only the whole "
                f"of {name}; of one example, {_described(one)}, it says: {error}"
            ) from error
        raise
    leaves = jax.tree.leaves(outputs)
    if any(leaf.dtype not in (jnp.float32, jnp.float64) for leaf in leaves):
        raise ValueError(
            f"apply must return arrays of float32 or float64, got {_described(outputs)}"
        )
    k = sum(leaf.size for leaf in leaves)
    if not k:
        raise ValueError(
            f"apply must return at least one output, got {_described(outputs)}"
        )
    ((n,),) = lengths
    return Outputs(n, k, jnp.result_type(*(leaf.dtype for leaf in leaves)))


def flat(outputs: Any) -> Array:
    """The outputs of one example as one array, ``(k,)``."""
    leaves = [jnp.ravel(leaf) for leaf in jax.tree.leaves(outputs)]
    return jnp.concatenate(leaves)


def _shaped(leaf):
    """Shape and dtype of an array or number."""
    return jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf))


def _takes(apply, params, batch):
    """Whether the function takes all examples at once."""
    try:
        jax.eval_shape(apply, params, batch)
    except Exception:
        return False
    return True


def _described(value):
    """Shapes and dtypes, in the structure of the value."""
    return jax.tree.map(lambda a: f"{a.dtype}{list(a.shape)}", value)
