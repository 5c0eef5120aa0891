"""A trained network and its data, from NumPy alone: the same bits for every tool."""

from itertools import pairwise

import numpy as np

SIZES = (784, 256, 128, 10)


def make(
    seed: int = 0, n: int = 1024, sizes: tuple[int, ...] = SIZES, steps: int = 300
) -> dict[str, np.ndarray]:
    """Draw classes of correlated inputs, and train a tanh network on them for a while.

    After training the Hessian has a few large eigenvalues and a bulk near zero, as
    those of real networks have; at initialization a tool would have an easier time.

    Args:
        seed: Of data, initialization, batches, and the direction ``vector``.
        n: Examples.
        sizes: Inputs, hidden units of each layer, classes.
        steps: Of gradient descent with momentum, on batches of 128 or n examples.

    Returns:
        ``inputs`` (n, d), ``labels`` (n,), ``kernel_i`` (in, out) and ``bias_i``
        (out,) of each layer, and ``vector`` (p,) of length 1, in their order.
    """
    rng = np.random.default_rng(seed)
    d, k = sizes[0], sizes[-1]
    # Inputs with a power-law spectrum, around a mean for each class.
    scales = np.arange(1, d + 1) ** -0.7
    directions = np.linalg.qr(rng.normal(size=(d, d)))[0] * scales
    labels = rng.integers(k, size=n)
    means = 0.6 * rng.normal(size=(k, d))
    inputs = (means[labels] * (scales > 0.1) + rng.normal(size=(n, d))) @ directions.T
    inputs = (3 * inputs).astype(np.float32)
    layers = [
        [rng.normal(size=(a, b)) / a**0.5, np.zeros(b)] for a, b in pairwise(sizes)
    ]
    layers = [[x.astype(np.float32) for x in layer] for layer in layers]
    speed = [[np.zeros_like(x) for x in layer] for layer in layers]
    for _ in range(steps):
        batch = rng.choice(n, min(n, 128), replace=False)
        slopes = _gradient(layers, inputs[batch], labels[batch])
        for layer, velocity, slope in zip(layers, speed, slopes, strict=True):
            for number in range(2):
                velocity[number] = 0.9 * velocity[number] - 0.01 * slope[number]
                layer[number] += velocity[number]
    arrays = {"inputs": inputs, "labels": labels.astype(np.int32)}
    for number, (kernel, bias) in enumerate(layers):
        arrays |= {f"kernel_{number}": kernel, f"bias_{number}": bias}
    p = sum(x.size for layer in layers for x in layer)
    vector = rng.normal(size=p)
    return arrays | {"vector": (vector / np.linalg.norm(vector)).astype(np.float32)}


def parameters(problem: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Kernels and biases in their order.

    Args:
        problem: From `make`.

    Returns:
        ``[kernel_0, bias_0, ...]``.
    """
    count = sum(name.startswith("kernel_") for name in problem)
    return [
        problem[f"{part}_{number}"]
        for number in range(count)
        for part in ("kernel", "bias")
    ]


def flatten(arrays: list[np.ndarray]) -> np.ndarray:
    """One vector of kernels and biases, or one row each of stacks of them.

    Args:
        arrays: As from `parameters`, perhaps all with one more axis in front.

    Returns:
        ``(p,)`` or ``(k, p)``.
    """
    stacked = arrays[1].ndim == 2
    shape = (len(arrays[0]), -1) if stacked else (-1,)
    return np.concatenate([np.reshape(x, shape) for x in arrays], axis=-1)


def split(vector: np.ndarray, like: list[np.ndarray]) -> list[np.ndarray]:
    """The inverse of `flatten` for one vector.

    Args:
        vector: ``(p,)``.
        like: As from `parameters`.

    Returns:
        Arrays in the shapes of ``like``.
    """
    ends = np.cumsum([x.size for x in like])[:-1]
    pieces = np.split(vector, ends)
    return [piece.reshape(x.shape) for piece, x in zip(pieces, like, strict=True)]


def _gradient(layers, inputs, labels):
    """Back-propagation for the mean cross-entropy."""
    hidden = [inputs]
    for kernel, bias in layers[:-1]:
        hidden.append(np.tanh(hidden[-1] @ kernel + bias))
    logits = hidden[-1] @ layers[-1][0] + layers[-1][1]
    weights = np.exp(logits - logits.max(1, keepdims=True))
    error = weights / weights.sum(1, keepdims=True)
    error[np.arange(len(labels)), labels] -= 1
    error /= len(labels)
    slopes = []
    for (kernel, _), below in zip(reversed(layers), reversed(hidden), strict=True):
        slopes.append((below.T @ error, error.sum(0)))
        error = (error @ kernel.T) * (1 - below**2)
    return slopes[::-1]
