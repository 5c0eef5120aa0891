"""Which examples each training step sees.

A sampler is ``sampler(key, first_step, n_steps, n, batch_size) -> rows``. What it
draws for a step depends on the key and the step alone, so that neither the length of
a compiled stretch nor an interruption changes it.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxdl.types import Array, Key

Sampler = Callable[[Key, Array, int, int, int], Array]
"""``sampler(key, first_step, n_steps, n, batch_size)``, row numbers
``(n_steps, batch_size)``; such as `epoch_batches` and `random_batches`."""


def epoch_batches(
    key: Key, first_step: Array, n_steps: int, n: int, batch_size: int
) -> Array:
    """Row numbers of mini-batches drawn without replacement.

    Each epoch is a new permutation of the n examples, cut into ``n // batch_size``
    batches. The ``n % batch_size`` rows at the end of a permutation are not seen in
    that epoch; as each epoch has its own permutation, all rows are left over equally
    often in the long run. A step's batch depends on the key and on the step alone,
    not on where training was interrupted.

    Args:
        key: PRNG key of the whole training run.
        first_step: ``()`` integer, counted from 0; may be traced.
        n_steps: How many steps from there.
        n: Number of examples.
        batch_size: ``1 <= batch_size <= n``; 1 for one example at a time.

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


def random_batches(
    key: Key, first_step: Array, n_steps: int, n: int, batch_size: int
) -> Array:
    """Row numbers of mini-batches drawn with replacement.

    Each row of each batch is uniform on 0..n-1 and independent of all others, so the
    gradient of a batch is an unbiased estimate of the full one at every step, given
    all steps before; within an epoch of `epoch_batches` it is not.

    Args:
        key: PRNG key of the whole training run.
        first_step: ``()`` integer, counted from 0; may be traced.
        n_steps: How many steps from there.
        n: Number of examples.
        batch_size: ``>= 1``, and may be greater than n.

    Returns:
        ``(n_steps, batch_size)`` int32.

    Raises:
        ValueError: If ``batch_size`` is less than 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")

    def batch_of(step):
        return jax.random.randint(jax.random.fold_in(key, step), (batch_size,), 0, n)

    steps = first_step + jnp.arange(n_steps, dtype=jnp.int32)
    return jax.vmap(batch_of)(steps).astype(jnp.int32)


def divisor_near(total: int, wanted: int) -> int:
    """A divisor of ``total`` in (wanted / 2, wanted], or else ``wanted`` itself.

    Args:
        total: What is cut into equal parts, ``>= 1``.
        wanted: The size of a part; taken into 1..total.

    Returns:
        The size.
    """
    wanted = max(1, min(wanted, total))
    for size in range(wanted, (wanted - 1) // 2, -1):
        if total % size == 0:
            return size
    return wanted
