"""What is computed in each row, and parameters and inputs from NumPy alone."""

from typing import NamedTuple

import numpy as np

from benchmarks._ntk.networks import Network, networks


class Case(NamedTuple):
    """A row: the kernel of a network, in a form, of x1 with x2 or with itself."""

    network: str
    outputs: str  # "trace" or "full"
    symmetric: bool = False


CASES = {
    "mlp-trace": Case("mlp", "trace"),
    "mlp-full": Case("mlp", "full"),
    "mlp-full-symmetric": Case("mlp", "full", True),
    "cnn-trace": Case("cnn", "trace"),
    "cnn-trace-symmetric": Case("cnn", "trace", True),
    "cnn-full": Case("cnn", "full"),
    "transformer-trace": Case("transformer", "trace"),
    "transformer-full": Case("transformer", "full"),
    "lstm-trace": Case("lstm", "trace"),
    "lstm-full": Case("lstm", "full"),
}


class Loaded(NamedTuple):
    """A network with what it is applied to."""

    network: Network
    params: dict[str, np.ndarray]
    x1: np.ndarray
    x2: np.ndarray


def make(scale: str = "full", seed: int = 0) -> dict[str, np.ndarray]:
    """Draw parameters and inputs of all networks.

    Args:
        scale: As `networks` takes it.
        seed: Of everything.

    Returns:
        ``scale``, and for each network ``NAME.x1``, ``NAME.x2`` (n, ...) and
        ``NAME.params.LEAF``, all float32.
    """
    arrays = {"scale": np.array(scale)}
    for name, network in networks(scale).items():
        rng = np.random.default_rng([seed, len(arrays)])
        for leaf, value in network.init(rng).items():
            arrays[f"{name}.params.{leaf}"] = value
        for side in ("x1", "x2"):
            drawn = rng.normal(size=(network.n, *network.shape))
            arrays[f"{name}.{side}"] = drawn.astype(np.float32)
    return arrays


def load(arrays: dict[str, np.ndarray]) -> dict[str, Loaded]:
    """The inverse of `make`.

    Args:
        arrays: From `make`.

    Returns:
        Networks by name, with their arrays as they are.
    """
    found = {}
    for name, network in networks(str(arrays["scale"])).items():
        start = f"{name}.params."
        params = {
            key.removeprefix(start): value
            for key, value in arrays.items()
            if key.startswith(start)
        }
        found[name] = Loaded(
            network, params, arrays[f"{name}.x1"], arrays[f"{name}.x2"]
        )
    return found
