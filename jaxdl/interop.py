"""Optimizers of jaxdl where optax expects its own."""

from typing import TYPE_CHECKING

from jaxdl.optim import GradientTransformation, with_extra_args

if TYPE_CHECKING:
    import optax


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
