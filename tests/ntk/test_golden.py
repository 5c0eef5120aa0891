"""Kernels of saved parameters, from another program."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.ntk import empirical_nngp, empirical_ntk, empirical_ntk_per_layer
from jaxdl.ntk.empirical import METHODS

with np.load(Path(__file__).parent.parent / "golden" / "finite_width.npz") as file:
    GOLDEN = dict(file)
BLOCKS = (None, 1, 2, 3, 100)


def params_of(prefix):
    names = [name for name in GOLDEN if name.startswith(f"{prefix}/")]
    return {
        name.split("/")[1]: GOLDEN[name]
        for name in names
        if name.split("/")[1][0] in "WbP"
    }


def standard(activation, params, x):
    for layer in range(2):
        x = activation(x @ params[f"W{layer}"] + params[f"b{layer}"])
    return x @ params["W2"] + params["b2"]


def ntk_parameterization(activation, params, x):
    for layer in range(3):
        kernel = params[f"W{layer}"]
        x = 1.5 / np.sqrt(kernel.shape[0]) * x @ kernel + 0.1 * params[f"b{layer}"]
        x = x if layer == 2 else activation(x)
    return x


def cnn(params, x):
    for layer in range(2):
        x = jax.lax.conv_general_dilated(
            x[None],
            params[f"W{layer}"],
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )[0]
        x = jax.nn.relu(x + params[f"b{layer}"][None, None])
    return x.mean((0, 1)) @ params["W2"] + params["b2"]


def attention(params, x):
    q, k, v = (x @ params[f"P{i}"] for i in range(3))
    mixed = jax.nn.softmax(q @ k.T / np.sqrt(6), axis=-1) @ v
    return mixed.mean(0) @ params["P3"]


NETWORKS = {
    "std_relu": (partial(standard, jax.nn.relu), "std"),
    "std_tanh": (partial(standard, jnp.tanh), "std"),
    "ntk_relu": (partial(ntk_parameterization, jax.nn.relu), "ntk"),
    "ntk_erf": (partial(ntk_parameterization, jax.lax.erf), "ntk"),
}


def measured(function, apply, params, x1, x2=None, **settings):
    """In float64, compiled."""
    with jax.enable_x64(True):

        @jax.jit
        def call(params, x1, x2):
            return function(apply, params, x1, x2, **settings)

        return jax.tree.map(np.asarray, call(params, x1, x2))


def check(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    assert found.dtype == np.float64


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("network", NETWORKS)
def test_networks(network, method):
    apply, prefix = NETWORKS[network]
    params, xa, xb = params_of(prefix), GOLDEN["xa"], GOLDEN["xb"]
    np.testing.assert_allclose(
        measured(lambda f, p, x, _: jax.vmap(f, (None, 0))(p, x), apply, params, xa),
        GOLDEN[f"{network}/f_a"],
        rtol=1e-9,
    )
    for block_size in BLOCKS if network == "std_tanh" else (None, 2):
        ntk = partial(
            measured,
            empirical_ntk,
            apply,
            params,
            xa,
            method=method,
            block_size=block_size,
        )
        check(ntk(), GOLDEN[f"{network}/ntk_aa"])
        check(ntk(xb), GOLDEN[f"{network}/ntk_ab"])
        check(ntk(xb, outputs="trace"), GOLDEN[f"{network}/ntk_ab_trace"])
        check(ntk(xb, outputs="diagonal"), GOLDEN[f"{network}/ntk_ab_diag"])


@pytest.mark.parametrize("network", NETWORKS)
def test_products_of_outputs(network):
    apply, prefix = NETWORKS[network]
    for block_size in (None, 2):
        nngp = partial(
            measured,
            empirical_nngp,
            apply,
            params_of(prefix),
            GOLDEN["xa"],
            GOLDEN["xb"],
            block_size=block_size,
        )
        full = GOLDEN[f"{network}/nngp_ab_full"]
        check(nngp(), full)
        check(nngp(outputs="diagonal"), np.einsum("ijaa->ija", full))
        check(nngp(outputs="trace"), GOLDEN[f"{network}/nngp_ab_trace"])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("apply", "name", "x1", "x2", "kernel"),
    [
        (cnn, "cnn", "cnn/xc", "cnn/xd", "cnn/ntk_cd"),
        (attention, "attn", "attn/x", None, "attn/ntk"),
    ],
)
def test_convolution_and_attention(apply, name, x1, x2, kernel, method):
    params, x1, x2 = params_of(name), GOLDEN[x1], GOLDEN.get(x2)
    full = GOLDEN[kernel]
    diagonal = np.einsum("ijaa->ija", full)
    for block_size in (None, 2):
        ntk = partial(
            measured,
            empirical_ntk,
            apply,
            params,
            x1,
            x2,
            method=method,
            block_size=block_size,
        )
        check(ntk(), full)
        check(ntk(outputs="diagonal"), diagonal)
        check(ntk(outputs="trace"), diagonal.mean(2))


@pytest.mark.parametrize("method", METHODS)
def test_layers_add_up(method):
    layers = measured(
        empirical_ntk_per_layer,
        attention,
        params_of("attn"),
        GOLDEN["attn/x"],
        method=method,
    )
    assert list(layers) == ["P0", "P1", "P2", "P3"]
    check(sum(layers.values()), GOLDEN["attn/ntk"])
