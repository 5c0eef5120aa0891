"""Losses and error rates of one example, and penalties on parameters.

Each function takes the outputs for ONE example; ``vmap`` it and take the mean to
get the loss of a batch.
"""

import jax
import jax.numpy as jnp

from jaxdl import tree
from jaxdl.types import Array, Params


def squared_error(outputs: Array, targets: Array) -> Array:
    """Half the squared distance, ``sum((y - t)**2) / 2``; its gradient is y - t.

    Args:
        outputs: Any shape.
        targets: The same shape.

    Returns:
        ``()``.

    Raises:
        ValueError: If the shapes differ.
    """
    if jnp.shape(outputs) != jnp.shape(targets):
        raise ValueError(
            "outputs and targets must have the same shape, "
            f"got {jnp.shape(outputs)} and {jnp.shape(targets)}"
        )
    return jnp.sum(jnp.square(outputs - targets)) / 2


def cross_entropy(logits: Array, label: Array) -> Array:
    """Minus the log probability that softmax gives the label, in nats.

    ``log(sum(exp(z))) - z[label]``, computed without overflow at any finite
    logits. Its gradient in z is ``softmax(z) - one_hot(label)``.

    Args:
        logits: ``(k,)`` scores z, unnormalized log probabilities.
        label: ``()`` integer class in 0..k-1.

    Returns:
        ``()``, ``>= 0``.

    Raises:
        ValueError: If ``logits`` is not a vector or ``label`` is not an integer
            scalar.

    Examples:
        >>> import jax.numpy as jnp
        >>> print(f"{cross_entropy(jnp.zeros(10), jnp.array(3)):.4f}")
        2.3026
    """
    label = jnp.asarray(label)
    if jnp.ndim(logits) != 1 or label.ndim:
        raise ValueError(
            "expected logits (k,) and label () of one example, got "
            f"{jnp.shape(logits)} and {label.shape}; vmap over a batch"
        )
    if not jnp.issubdtype(label.dtype, jnp.integer):
        raise ValueError(f"label must be an integer class, got dtype {label.dtype}")
    return jax.nn.logsumexp(logits) - logits[label]


def soft_cross_entropy(logits: Array, probabilities: Array) -> Array:
    """Cross-entropy against a distribution, ``-sum(p log softmax(z))``, in nats.

    Args:
        logits: ``(k,)`` scores z.
        probabilities: ``(k,)`` target distribution p; ``>= 0``, sum 1 (not checked).

    Returns:
        ``()``.

    Raises:
        ValueError: If the shapes differ.
    """
    if jnp.shape(logits) != jnp.shape(probabilities):
        raise ValueError(
            "logits and probabilities must have the same shape, "
            f"got {jnp.shape(logits)} and {jnp.shape(probabilities)}"
        )
    return -jnp.sum(probabilities * jax.nn.log_softmax(logits))


def binary_cross_entropy(logit: Array, target: Array) -> Array:
    """Cross-entropy of a Bernoulli variable, ``log(1 + exp(z)) - t z``, in nats.

    Its gradient in z is ``sigmoid(z) - t``, which does not vanish where a confident
    prediction is wrong, unlike that of the squared error of ``sigmoid(z)``.

    Args:
        logit: Log odds z, any shape.
        target: Probability of class 1, in [0, 1]; the same shape.

    Returns:
        Elementwise loss, in the shape of ``logit``.
    """
    return jax.nn.softplus(logit) - target * logit


def misclassified(logits: Array, label: Array) -> Array:
    """Whether the largest logit is not the label's: 1.0 or 0.0.

    Logits that hold a NaN count as wrong.

    Args:
        logits: ``(k,)``.
        label: ``()`` integer class.

    Returns:
        ``()`` in the dtype of ``logits``.
    """
    wrong = (jnp.argmax(logits) != label) | jnp.any(jnp.isnan(logits))
    return wrong.astype(jnp.result_type(logits))


def perplexity(mean_cross_entropy: Array) -> Array:
    """``exp`` of a mean cross-entropy in nats: the effective number of choices."""
    return jnp.exp(mean_cross_entropy)


def l2_penalty(params: Params) -> Array:
    """Half the squared norm of all leaves, ``sum(w**2) / 2``; gradient w."""
    return tree.dot(params, params) / 2


def l1_penalty(params: Params) -> Array:
    """Sum of the absolute values of all leaves."""
    return sum(
        (jnp.sum(jnp.abs(leaf)) for leaf in jax.tree.leaves(params)),
        start=jnp.asarray(0.0),
    )
