"""One compiled program: a batch of points of equal shapes on every device."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, PartitionSpec

from jaxdl.sweep.grid import Axis

METHODS = ("vmap", "map")

Point = Callable[..., Any]
"""``point(key, **values)`` to a pytree of metrics."""


class Metric(NamedTuple):
    """What the program returns for a point."""

    name: str
    shape: tuple[int, ...]
    dtype: str


class Traced(NamedTuple):
    """What is known of a point before it is compiled."""

    digest: str  # of its code and the arrays in it
    metrics: tuple[Metric, ...]


def trace(point: Point, axes: Mapping[str, Axis], fixed: Mapping[str, Any]) -> Traced:
    """Trace a point of given shapes.

    Args:
        point: The function.
        axes: Those of values, by name.
        fixed: The shapes by name.

    Returns:
        What is known of it.

    Raises:
        ValueError: If it returns no arrays, or keys.
    """
    lowered = jax.jit(_one(point, fixed)).lower(*_arguments(axes, ()))
    code = hashlib.blake2b(lowered.as_text().encode(), digest_size=8).hexdigest()
    found = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(lowered.out_info):
        name = jax.tree_util.keystr(path, simple=True, separator=".") or "value"
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            raise ValueError(f"point must return numbers, got a key for {name}")
        found.append(Metric(name, tuple(leaf.shape), str(leaf.dtype)))
    if not found:
        raise ValueError("point must return at least one metric, got none")
    return Traced(code, tuple(found))


def compiled(
    point: Point,
    axes: Mapping[str, Axis],
    fixed: Mapping[str, Any],
    size: int,
    method: str,
    devices: list[Any],
) -> Any:
    """Compile a batch of ``size`` points for each device.

    Each device runs the program of its own ``size`` points, so that the bits do not
    depend on how many devices there are.

    Args:
        point: The function.
        axes: Those of values, by name.
        fixed: The shapes by name.
        size: Points a device.
        method: One of `METHODS`.
        devices: Some devices.

    Returns:
        From the root key, numbers of points and their values to leaves with an entry
        for each point.
    """
    one = _one(point, fixed)

    def batch(root, numbers, given):
        if method == "map":
            return jax.lax.map(lambda x: one(root, *x), (numbers, given))
        return jax.vmap(one, (None, 0, 0))(root, numbers, given)

    mesh = Mesh(np.array(devices), ("points",), axis_types=(AxisType.Auto,))
    split = PartitionSpec("points")
    sharded = jax.shard_map(
        batch,
        mesh=mesh,
        in_specs=(PartitionSpec(), split, split),
        out_specs=split,
        check_vma=False,  # a point need not know of devices
    )
    arguments = _arguments(axes, (size * len(devices),))
    return jax.jit(sharded).lower(*arguments).compile()


def memory_of(program: Any) -> int:
    """What a program needs on a device.

    Args:
        program: From `compiled`.

    Returns:
        Bytes of its arguments, results and temporary arrays; 0 where JAX cannot say.
    """
    found = program.memory_analysis()
    if found is None:
        return 0
    return (
        found.argument_size_in_bytes
        + found.output_size_in_bytes
        + found.temp_size_in_bytes
    )


def _one(point, fixed):
    """The leaves of one point."""

    def one(root, number, given):
        return point(jax.random.fold_in(root, number), **given, **fixed)

    return one


def _arguments(axes, leading):
    """Shapes and dtypes of what a program takes."""
    root = jax.eval_shape(lambda: jax.random.key(0))
    given = {
        name: jax.ShapeDtypeStruct(
            (*leading, *axis.levels.shape[1:]), axis.levels.dtype
        )
        for name, axis in axes.items()
    }
    return root, jax.ShapeDtypeStruct(leading, np.uint32), given
