"""Matrices of known spectrum and the reference network."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

GOLDEN = Path(__file__).parent.parent / "golden" / "tanh_mlp_hessian.npz"


@pytest.fixture(scope="session")
def golden():
    """Parameters, data, Hessians and spectra of a tanh network, in float64."""
    with np.load(GOLDEN) as file:
        return dict(file)


@pytest.fixture(scope="session")
def planted():
    """From a spectrum to a dense symmetric matrix, float64, in a random basis."""

    def matrix(spectrum, seed=0):
        spectrum = np.asarray(spectrum, float)
        rng = np.random.default_rng(seed)
        basis, _ = np.linalg.qr(rng.normal(size=(spectrum.size, spectrum.size)))
        product = (basis * spectrum) @ basis.T
        return (product + product.T) / 2

    return matrix


def outputs(theta, x):
    """The network with sizes 3, 5, 4, 2 and its parameters as one vector."""
    start = 0
    for fan_in, fan_out in ((3, 5), (5, 4), (4, 2)):
        kernel = theta[start : start + fan_in * fan_out].reshape(fan_in, fan_out)
        start += fan_in * fan_out
        x = x @ kernel + theta[start : start + fan_out]
        start += fan_out
        x = x if start == theta.size else jnp.tanh(x)
    return x


def squared_error(z, y):
    return jnp.sum((z - y) ** 2) / 2


def cross_entropy(z, y):
    return jax.nn.logsumexp(z) - z[y]


@pytest.fixture(scope="session")
def network():
    """``apply(theta, x)`` of the reference network for one example."""
    return outputs


@pytest.fixture(scope="session")
def losses_of_outputs():
    return {"mse": squared_error, "ce": cross_entropy}


@pytest.fixture(scope="session")
def losses():
    """``loss(theta, (x, y))``, means over the batch."""

    def mean(loss):
        def of_batch(theta, batch):
            def one(x, y):
                return loss(outputs(theta, x), y)

            return jnp.mean(jax.vmap(one)(*batch))

        return of_batch

    return {"mse": mean(squared_error), "ce": mean(cross_entropy)}


@pytest.fixture(scope="session")
def batches(golden):
    return {
        "mse": (golden["X"], golden["Y_reg"]),
        "ce": (golden["X"], golden["Y_cls"]),
    }
