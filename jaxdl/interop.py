"""Flax modules as functions of one example, and our optimizers where optax looks."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from jaxdl.optim import GradientTransformation, with_extra_args
from jaxdl.types import Params

if TYPE_CHECKING:
    import flax.linen  # noqa: TID251 (types only)
    import flax.nnx  # noqa: TID251
    import optax


Apply = Callable[[Params, Any], Any]
"""``apply(params, x) -> outputs`` of one example."""


def from_linen(
    module: "flax.linen.Module", variables: Any, *, batched: bool = True, **kwargs: Any
) -> tuple[Apply, Params]:
    """A Linen module as a function of its parameters and one example.

    The collection "params" becomes the parameters. All others, such as the running
    statistics of batch normalization, stay what they are in ``variables``. Nothing is
    drawn and no collection is updated: a module that tries to is to be told otherwise
    by an argument, such as ``train=False``, ``deterministic=True`` or
    ``use_running_average=True``.

    Args:
        module: The module.
        variables: What ``module.init`` returned, or training made of it.
        batched: Whether the module takes inputs with a batch axis first and returns
            such outputs. The function adds and removes it. Modules with convolutions
            or batch normalization expect one.
        **kwargs: Arguments for ``module.apply`` by name: those of the module's own
            method, and ``method``.

    Returns:
        ``apply(params, x)`` for one example x, an array or pytree, which may be traced;
        and the parameters, a nested dictionary of arrays. A call raises a ValueError if
        the module draws, updates a collection, or loses the batch axis.

    Raises:
        ValueError: If ``variables`` has no "params", or ``kwargs`` ask for randomness
            or updates.

    Examples:
        >>> import flax.linen as nn
        >>> module = nn.Sequential([nn.Dense(3), nn.tanh, nn.Dense(2)])
        >>> variables = module.init(jax.random.key(0), jnp.ones((1, 4)))
        >>> apply, params = from_linen(module, variables)
        >>> print(apply(params, jnp.ones(4)).shape, list(params))
        (2,) ['layers_0', 'layers_2']
    """
    from flax import core, errors  # noqa: TID251 (here and below: lazily)
    from flax.linen import meta  # noqa: TID251

    for name in ("rngs", "mutable", "capture_intermediates"):
        if name in kwargs:
            raise ValueError(
                f"kwargs must not have {name!r}: the function draws nothing and "
                "updates nothing; turn dropout and updates off by the module's own "
                "arguments"
            )
    variables = core.unfreeze(meta.unbox(dict(variables)))
    if not variables.get("params"):
        raise ValueError(
            "variables must have a collection 'params' that is not empty, as "
            f"module.init returns it; got {sorted(variables)}"
        )
    params = variables.pop("params")
    wanted = jax.tree.structure(params)

    def apply(params: Params, x: Any) -> Any:
        if message := _misfit(params, wanted):
            raise ValueError(message)
        try:
            outputs = module.apply(
                {"params": params, **variables},
                _with_batch_axis(x) if batched else x,
                mutable=False,
                **kwargs,
            )
        except errors.InvalidRngError as error:
            raise ValueError(
                "module must not draw, as it does in training: hand from_linen the "
                "module's argument that turns this off, such as train=False or "
                f"deterministic=True. It says: {error}"
            ) from error
        except errors.ModifyScopeVariableError as error:
            raise ValueError(
                "module must not update its collections, as it does in training: hand "
                "from_linen the module's argument that turns this off, such as "
                f"train=False or use_running_average=True. It says: {error}"
            ) from error
        return _without_batch_axis(outputs) if batched else outputs

    return apply, params


def from_nnx(
    module: "flax.nnx.Module", *, batched: bool = True, **kwargs: Any
) -> tuple[Apply, Params]:
    """An NNX module as a function of its parameters and one example.

    The variables of type ``nnx.Param`` become the parameters; a variable shared by
    several parts is one of them. All else is held at what it is now. The function works
    on a copy in evaluation mode: dropout is off, and batch normalization uses its
    running statistics. Later changes of ``module`` have no effect on it, nor it on
    ``module``. Random streams stand still: what other parts of a module draw is the
    same in every call.

    Args:
        module: The module.
        batched: As in `from_linen`.
        **kwargs: Arguments for the call of the module by name.

    Returns:
        ``apply(params, x)`` for one example x, an array or pytree, which may be traced;
        and the parameters, a nested dictionary of arrays, with integers for keys where
        the module has a list. A call raises a ValueError if the module drops units,
        updates what is held, or loses the batch axis.

    Raises:
        ValueError: If ``module`` is no NNX module or has no parameters.

    Examples:
        >>> from flax import nnx
        >>> rngs = nnx.Rngs(0)
        >>> module = nnx.Sequential(
        ...     nnx.Linear(4, 3, rngs=rngs), nnx.BatchNorm(3, rngs=rngs)
        ... )
        >>> apply, params = from_nnx(module)
        >>> print(jax.tree.map(jnp.shape, params["layers"][1]))
        {'bias': (3,), 'scale': (3,)}
        >>> print(apply(params, jnp.ones(4)).shape)
        (3,)
    """
    from flax import nnx  # noqa: TID251

    if not isinstance(module, nnx.Module):
        raise ValueError(f"module must be an nnx.Module, got {type(module).__name__}")
    module = nnx.clone(module)
    module.eval()
    graph, trained, held = nnx.split(module, nnx.Param, ...)
    leaves, structure = jax.tree.flatten(trained)
    if not leaves:
        raise ValueError("module must have variables of type nnx.Param, got none")
    held_leaves, held_structure = jax.tree.flatten(held)
    params = nnx.to_pure_dict(trained)
    wanted = jax.tree.structure(params)
    # Where each leaf of the dictionary belongs among those of the state.
    numbered = jax.tree.unflatten(structure, range(len(leaves)))
    places = jax.tree.leaves(nnx.to_pure_dict(numbered))

    def apply(params: Params, x: Any) -> Any:
        if message := _misfit(params, wanted):
            raise ValueError(message)
        found = dict(zip(places, jax.tree.leaves(params), strict=True))
        # New variables at each call: the module may write to them.
        copy = nnx.merge(
            graph,
            jax.tree.unflatten(structure, [found[i] for i in range(len(leaves))]),
            jax.tree.unflatten(held_structure, held_leaves),
        )
        before = _held(nnx, copy)
        outputs = copy(_with_batch_axis(x) if batched else x, **kwargs)
        after = _held(nnx, copy)
        changed = [path for path in before if after.get(path) is not before[path]]
        if changed:
            raise ValueError(
                "module must not update its state or drop units, as it does in "
                "training: remove or change the argument that asks for it, such as "
                "use_running_average=False or deterministic=False. What changed: "
                f"{', '.join(changed)}"
            )
        return _without_batch_axis(outputs) if batched else outputs

    return apply, params


def to_optax(
    transform: GradientTransformation,
) -> "optax.GradientTransformationExtraArgs":
    """The same transformation, of optax's type.

    Most of optax takes a transformation of `jaxdl.optim` as it is. This is for where
    it looks at the type: extra arguments of ``update`` reach only an
    ``optax.GradientTransformationExtraArgs``.

    Args:
        transform: A transformation of `jaxdl.optim`.

    Returns:
        An ``optax.GradientTransformationExtraArgs``.

    Examples:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> from jaxdl import optim
        >>> optimizer = optax.chain(optax.clip(1.0), to_optax(optim.sgd(0.5)))
        >>> params = jnp.array([1.0, 2.0])
        >>> state = optimizer.init(params)
        >>> updates, _ = optimizer.update(jnp.array([0.5, 9.0]), state, params)
        >>> print(updates)
        [-0.25 -0.5 ]
    """
    import optax

    return optax.GradientTransformationExtraArgs(
        transform.init, with_extra_args(transform).update
    )


def _held(nnx, module):
    """The values that must not change, by path: all but parameters and random streams.

    Of those the ones that drop units count. Others do not: recurrent cells draw their
    first state, even where it is zero.
    """
    droppers = [
        path for path, part in nnx.iter_modules(module) if isinstance(part, nnx.Dropout)
    ]

    def matters(path, value):
        if isinstance(value, nnx.RngState):
            return any(path[: len(dropper)] == dropper for dropper in droppers)
        return not isinstance(value, nnx.Param)

    state = nnx.state(module, matters)
    values, _ = jax.tree_util.tree_flatten_with_path(state)
    return {jax.tree_util.keystr(path): value for path, value in values}


def _misfit(params, wanted):
    """What to say of parameters of another structure; empty where all is well."""
    got = jax.tree.structure(params)
    return "" if got == wanted else f"params must be a tree {wanted}, got {got}"


def _with_batch_axis(x):
    """One example as a batch of one."""
    return jax.tree.map(lambda a: jnp.expand_dims(a, 0), x)


def _without_batch_axis(outputs):
    """The outputs of the one example of a batch.

    Raises:
        ValueError: If there is no such axis.
    """
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(outputs)]
    if any(shape[:1] != (1,) for shape in shapes):
        raise ValueError(
            "module must return the batch axis of length 1 that it was given; "
            f"it returned shapes {shapes}. Is it to be called with batched=False?"
        )
    return jax.tree.map(lambda a: jnp.squeeze(a, 0), outputs)
