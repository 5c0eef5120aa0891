"""Inputs, targets and times, from NumPy alone.

The networks, in the neural-tangent parameterization with standard deviations `W_STD`
and `B_STD` and 3x3 SAME filters, are described once here and built by each tool.
"""

import numpy as np

W_STD, B_STD = 1.4, 0.1

NETWORKS = {
    "dense": ["dense", "relu"] * 3 + ["dense"],
    "conv-flatten": ["conv", "relu"] * 3 + ["flatten", "dense"],
    "conv-pool": ["conv", "relu"] * 3 + ["pool", "dense"],
}

_SIZES = {
    # dense (n, d); images, flattened and pooled (n, side); flow (n, m, k, times)
    "full": ((1000, 784), (64, 16), (16, 16), (1000, 100, 10, 100)),
    "tiny": ((7, 5), (4, 4), (3, 4), (8, 3, 2, 5)),
}


def make(scale: str = "full", seed: int = 0) -> dict[str, np.ndarray]:
    """Draw everything.

    Args:
        scale: ``"full"`` or ``"tiny"``, which is for tests.
        seed: Of the draws.

    Returns:
        ``dense`` (n, d), ``conv-flatten`` and ``conv-pool`` (n, side, side, 3), and for
        the flow ``kernel`` (n, n), ``kernel_test`` (m, n), ``y`` (n, k), ``f`` (n, k),
        ``f_test`` (m, k), ``times`` (t,), all float32.
    """
    rng = np.random.default_rng(seed)
    dense, flat, pool, (n, m, k, t) = _SIZES[scale]
    # The kernel of a ReLU network with one layer on the sphere, which has full rank.
    x = rng.normal(size=(n + m, 20))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    cosine = np.clip(x @ x.T, -1, 1)
    angle = np.arccos(cosine)
    arc = (np.sqrt(1 - cosine**2) + (np.pi - angle) * cosine) / np.pi
    kernel = arc + cosine * (np.pi - angle) / np.pi + 0.1 * np.eye(n + m)
    arrays = {
        "dense": rng.normal(size=dense),
        "conv-flatten": rng.normal(size=(flat[0], flat[1], flat[1], 3)),
        "conv-pool": rng.normal(size=(pool[0], pool[1], pool[1], 3)),
        "kernel": kernel[:n, :n],
        "kernel_test": kernel[n:, :n],
        "y": rng.normal(size=(n, k)),
        "f": rng.normal(size=(n, k)),
        "f_test": rng.normal(size=(m, k)),
        "times": np.logspace(-1, 4, t),
    }
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def named(found, *names: str) -> dict[str, np.ndarray]:
    """A pair of results as NumPy arrays.

    Args:
        found: As many arrays as names.
        names: In their order.

    Returns:
        Arrays by name.
    """
    return {name: np.asarray(x) for name, x in zip(names, found, strict=True)}
