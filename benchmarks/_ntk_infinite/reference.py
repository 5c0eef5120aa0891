"""Kernels by their recursion and the flow by eigenvectors, in NumPy and float64."""

import numpy as np

from benchmarks._ntk_infinite.problem import B_STD, NETWORKS, W_STD

PACKAGES = ("numpy",)


def prepare(problem):
    """Everything in float64."""
    return {name: x.astype(np.float64) for name, x in problem.items()}


def ladders(row, facts):
    """There is nothing to choose."""
    del row, facts
    return {"": [{}]}


def kernels(network, x):
    """The kernels of a list of layers, all pairs of inputs and of their pixels.

    Args:
        network: Names of layers.
        x: ``(n, d)`` or ``(n, side, side, channels)``.

    Returns:
        ``{"nngp": (n, n), "ntk": (n, n)}``.
    """
    side = x.shape[1] if x.ndim == 4 else 1
    pixels = x.reshape(len(x), side**2, x.shape[-1])
    subscripts = "apc,bqc->abpq" if "pool" in network else "apc,bpc->abp"
    nngp = np.einsum(subscripts, pixels, pixels, optimize=True) / x.shape[-1]
    own = np.einsum("apc,apc->ap", pixels, pixels) / x.shape[-1]
    ntk = np.zeros_like(nngp)
    for layer in network:
        if layer in ("dense", "conv"):
            if layer == "conv":
                nngp, ntk, own = (_convolve(a, side) for a in (nngp, ntk, own))
            nngp = W_STD**2 * nngp + B_STD**2
            own = W_STD**2 * own + B_STD**2
            ntk = W_STD**2 * ntk + nngp
        elif layer == "relu":
            nngp, slope = _relu(nngp, own)
            ntk = ntk * slope
            own = own / 2
        else:  # over pixels, or pairs of pixels
            axes = tuple(range(2, nngp.ndim))
            nngp, ntk = nngp.mean(axes)[..., None], ntk.mean(axes)[..., None]
    return {"nngp": nngp[..., 0], "ntk": ntk[..., 0]}


def _relu(nngp, own):
    """Expected products of two rectified Gaussians, and of their slopes."""
    if nngp.ndim == 3:
        scale = np.sqrt(own[:, None] * own[None])
    else:
        scale = np.sqrt(own[:, None, :, None] * own[None, :, None, :])
    cosine = np.clip(nngp / scale, -1, 1)
    angle = np.arccos(cosine)
    product = scale * (np.sqrt(1 - cosine**2) + (np.pi - angle) * cosine) / (2 * np.pi)
    return product, (np.pi - angle) / (2 * np.pi)


def _convolve(covariance, side):
    """The mean over a 3x3 window moved along both pixels, with zeros outside."""
    lead = covariance.shape[: 1 if covariance.ndim == 2 else 2]
    pixels = covariance.ndim - len(lead)
    grid = covariance.reshape(*lead, *(side,) * (2 * pixels))
    padded = np.pad(grid, [(0, 0)] * len(lead) + [(1, 1)] * (2 * pixels))
    total = np.zeros_like(grid)
    for i in range(3):
        for j in range(3):
            windows = (slice(i, i + side), slice(j, j + side)) * pixels
            total += padded[(slice(None),) * len(lead) + windows]
    return (total / 9).reshape(covariance.shape)


def flow(problem):
    """Outputs during gradient flow at all times.

    Args:
        problem: From `prepare`.

    Returns:
        ``{"train": (t, n, k), "test": (t, m, k)}``: with K = U diag(s) U^T, f(t) = y +
        U exp(-t s / n) U^T (f - y), and the test set along K(test, train) / n times the
        integral of y - f.
    """
    values, vectors = np.linalg.eigh(problem["kernel"])
    n = len(values)
    start = vectors.T @ (problem["f"] - problem["y"])
    times = problem["times"][:, None, None]
    rates = values[None, :, None] / n
    train = problem["y"] + vectors @ (np.exp(-times * rates) * start)
    total = np.expm1(-times * rates) / values[None, :, None] * start
    test = problem["f_test"] + problem["kernel_test"] @ (vectors @ total)
    return {"train": train, "test": test}


def _truth(prepared, setting):
    del setting

    def work():
        found = {f"flow.{name}": x for name, x in flow(prepared).items()}
        for row, network in NETWORKS.items():
            for name, kernel in kernels(network, prepared[row]).items():
                found[f"{row}.{name}"] = kernel
        return found

    return work, lambda found: found


ROWS = {"truth": _truth}
