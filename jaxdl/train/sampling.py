"""Which examples each training step sees."""

import jax
import jax.numpy as jnp

from jaxdl.types import Array, Key


def epoch_batches(
    key: Key, first_step: Array, n_steps: int, n: int, batch_size: int
) -> Array:
    """Row numbers of mini-batches drawn without replacement.

    Each epoch is a new permutation of the n examples, cut into ``n // batch_size``
    batches; what is left over of an epoch is not seen in it. A step's batch depends
    on the key and on the step alone, not on where training was interrupted.

    Args:
        key: PRNG key of the whole training run.
        first_step: ``()`` integer, counted from 0; may be traced.
        n_steps: How many steps from there.
        n: Number of examples.
        batch_size: ``1 <= batch_size <= n``.

    Returns:
        ``(n_steps, batch_size)`` int32.

    Raises:
        ValueError: If ``batch_size`` is not in 1..n.
    """
    if not 1 <= batch_size <= n:
        raise ValueError(f"batch_size must lie in 1..{n}, got {batch_size}")
    per_epoch = n // batch_size
    first_epoch = first_step // per_epoch
    touched = (n_steps + per_epoch - 2) // per_epoch + 1

    def batches_of(epoch):
        order = jax.random.permutation(jax.random.fold_in(key, epoch), n)
        return order[: per_epoch * batch_size].reshape(per_epoch, batch_size)

    epochs = first_epoch + jnp.arange(touched, dtype=jnp.int32)
    batches = jax.vmap(batches_of)(epochs).reshape(-1, batch_size)
    start = first_step - first_epoch * per_epoch
    return jax.lax.dynamic_slice_in_dim(batches, start, n_steps).astype(jnp.int32)
