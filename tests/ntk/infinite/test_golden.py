"""Fully connected networks against kernels from neural-tangents, in float64."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxdl.ntk import infinite

GOLDEN = Path(__file__).parent.parent.parent / "golden"
ARCHITECTURES = json.loads((GOLDEN / "fc_analytic.json").read_text())["archs"]
ACTIVATIONS = {
    "relu": infinite.relu,
    "erf": infinite.erf,
    "leaky_relu_0.1": lambda: infinite.leaky_relu(0.1),
    "abs": infinite.absolute,
    "gelu_exact": infinite.gelu,
    "sin": infinite.sine,
    "rbf_g1": lambda: infinite.rbf(1.0),
    "identity": infinite.identity,
}


def network(activation, depth, W_std, b_std, parameterization, last_layer):
    def dense(W_std, b_std):
        return infinite.dense(
            5, w_std=W_std, b_std=b_std or 0.0, parameterization=parameterization
        )

    hidden = [
        layer
        for _ in range(depth)
        for layer in (dense(W_std, b_std), ACTIVATIONS[activation]())
    ]
    return infinite.serial(*hidden, dense(**last_layer))


@pytest.fixture(scope="module")
def arrays():
    with np.load(GOLDEN / "fc_analytic.npz") as file:
        return dict(file)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_agrees_to_nine_digits(name, arrays):
    kernel = network(**ARCHITECTURES[name]).kernel
    both = jax.jit(lambda x1, x2: (kernel(x1), kernel(x1, x2)))
    x1, x2 = arrays["x1"], arrays["x2"]
    with jax.enable_x64(True):
        got = dict(zip(("11", "12"), both(x1, x2), strict=True))
    for pair, kernels in got.items():
        for which in ("nngp", "ntk"):
            want = arrays[f"{name}/{which}_{pair}"]
            values = np.asarray(getattr(kernels, which))
            assert values.dtype == np.float64
            np.testing.assert_allclose(values, want, rtol=1e-9, atol=1e-12)
    if f"{name}/nngp_11_diag" in arrays:
        np.testing.assert_allclose(
            got["11"].own1, arrays[f"{name}/nngp_11_diag"], rtol=1e-9
        )
