"""Tangent kernels against Jacobians, and what is refused."""

import warnings
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.models import mlp
from jaxdl.ntk import (
    empirical_nngp,
    empirical_ntk,
    empirical_ntk_per_layer,
    jacobian,
)

RNG = np.random.default_rng(0)
X1 = RNG.normal(size=(5, 3)).astype(np.float32)
X2 = RNG.normal(size=(4, 3)).astype(np.float32)
METHODS = ("jacobian", "products", "structured")
OUTPUTS = ("full", "diagonal", "trace")


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


class Norm(NamedTuple):
    scale: np.ndarray
    shift: np.ndarray


PARAMS = {
    "embed": {"table": normal(6, 3)},
    "encoder": {
        "block_0": {"kernel": normal(3, 4), "bias": normal(4)},
        "norm": Norm(normal(4), normal(4)),
    },
    "head": [normal(4, 2, 2)],
    "temperature": normal(),
}
INPUTS = {"x": X1, "token": np.array([0, 3, 5, 3, 1])}
OTHERS = {"x": X2, "token": np.array([3, 3, 2, 0])}
LAYERS = {
    "embed": ["embed.table"],
    "encoder/block_0": ["encoder.block_0.bias", "encoder.block_0.kernel"],
    "encoder/norm": ["encoder.norm.scale", "encoder.norm.shift"],
    "head": ["head.0"],
    "temperature": ["temperature"],
}


def apply(params, inputs):
    """Tokens, a tree of inputs and of outputs, and a Flax-like tree of parameters."""
    h = inputs["x"] + params["embed"]["table"][inputs["token"]]
    block, norm = params["encoder"]["block_0"], params["encoder"]["norm"]
    h = jnp.tanh(h @ block["kernel"] + block["bias"]) * norm.scale + norm.shift
    logits = jnp.tensordot(h, params["head"][0], 1) / (1 + params["temperature"] ** 2)
    return {"logits": logits, "size": jnp.sum(h**2)}  # k = 5


def flat_outputs(apply, params, x):
    outputs = apply(jax.tree.map(jnp.asarray, params), x)
    return jnp.concatenate([jnp.ravel(a) for a in jax.tree.leaves(outputs)])


def jacobians(apply, params, x):
    """From forward mode: ``(n, k, p)`` a leaf, by its path, in float64."""
    with jax.enable_x64(True):
        params, x = jax.tree.map(
            lambda a: np.float64(a) if np.asarray(a).dtype.kind == "f" else a,
            (params, x),
        )

        @jax.jit
        def forward(params, x):
            function = jax.jacfwd(partial(flat_outputs, apply))
            return jax.vmap(function, (None, 0))(params, x)

        found = jax.tree_util.tree_leaves_with_path(forward(params, x))
        return {
            jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(
                j
            ).reshape(*j.shape[:2], -1)
            for path, j in found
        }


def reference(j1, j2, names=None):
    return sum(np.einsum("iap,jbp->ijab", j1[n], j2[n]) for n in names or j1)


def reduced(full, outputs):
    diagonal = np.einsum("ijaa->ija", full)
    return {"full": full, "diagonal": diagonal, "trace": diagonal.mean(-1)}[outputs]


J1, J2 = jacobians(apply, PARAMS, INPUTS), jacobians(apply, PARAMS, OTHERS)


def close(found, expected, size=1.0):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * size)


@pytest.mark.parametrize("method", METHODS)
def test_trees_of_inputs_outputs_and_parameters(method):
    @partial(jax.jit, static_argnames=("function", "outputs"))
    def call(params, x1, x2, outputs, function=empirical_ntk):
        return function(apply, params, x1, x2, outputs=outputs, method=method)

    for outputs in OUTPUTS:
        found = call(PARAMS, INPUTS, OTHERS, outputs)
        close(found, reduced(reference(J1, J2), outputs))
        symmetric = call(PARAMS, INPUTS, None, outputs)
        close(symmetric, reduced(reference(J1, J1), outputs))
        assert found.dtype == symmetric.dtype == np.float32
    layers = call(PARAMS, INPUTS, OTHERS, "full", empirical_ntk_per_layer)
    assert set(layers) == set(LAYERS)
    for name, leaves in LAYERS.items():
        close(layers[name], reference(J1, J2, leaves))
    close(sum(layers.values()), call(PARAMS, INPUTS, OTHERS, "full"))


@pytest.mark.parametrize("method", METHODS)
def test_where(method):
    where = {
        "embed": False,
        "encoder": {"block_0": {"kernel": True, "bias": np.False_}, "norm": True},
        "head": [False],
        "temperature": True,
    }
    names = [
        "encoder.block_0.kernel",
        "encoder.norm.scale",
        "encoder.norm.shift",
        "temperature",
    ]
    call = partial(empirical_ntk, apply, PARAMS, INPUTS, OTHERS, method=method)
    close(call(where=where), reference(J1, J2, names))
    layers = empirical_ntk_per_layer(
        apply, PARAMS, INPUTS, OTHERS, where=where, method=method
    )
    assert list(layers) == ["encoder/block_0", "encoder/norm", "temperature"]
    close(layers["encoder/block_0"], reference(J1, J2, names[:1]))
    close(call(where=True), reference(J1, J2))


@pytest.mark.parametrize("method", METHODS)
def test_leaves_that_do_not_count_may_be_anything(method):
    params = {"w": X1[0], "step": np.int32(3), "z": np.complex64(2j), "none": None}
    where = {"w": True, "step": False, "z": False, "none": None}

    def scaled(params, x):
        return params["step"] * jnp.abs(params["z"]) * (x @ params["w"])

    found = empirical_ntk(scaled, params, X1, X2, where=where, method=method)
    close(found[..., 0, 0], 36 * X1 @ X2.T, 36)


@pytest.mark.parametrize("method", METHODS)
@given(seed=st.integers(0, 2**16), symmetric=st.booleans(), block=st.integers(1, 6))
@settings(max_examples=8, deadline=None)
def test_random_networks_against_jacobians(method, seed, symmetric, block):
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(2, 3, 3)), rng.normal(size=(2, 3))
    x1, x2 = rng.normal(size=(5, 3)), None if symmetric else rng.normal(size=(4, 3))
    with jax.enable_x64(True):
        found = np.asarray(_of_network(method, block, weights, x1, x2))
        j1 = np.asarray(_jacobians_of_network(weights, x1))
        j2 = j1 if symmetric else np.asarray(_jacobians_of_network(weights, x2))
    expected = np.einsum("iap,jbp->ijab", j1, j2)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    if symmetric:
        np.testing.assert_array_equal(found, found.transpose(1, 0, 3, 2))


def network(weights, x):
    """Two layers in a scan with a shared sum, so that each parameter is used twice."""

    def layer(h, both):
        kernel, bias = both
        return jnp.sin(h @ kernel + bias) + jnp.mean(kernel) * h, None

    return jax.lax.scan(layer, x, weights)[0]


@partial(jax.jit, static_argnums=(0, 1))
def _of_network(method, block, weights, x1, x2):
    return empirical_ntk(network, weights, x1, x2, method=method, block_size=block)


@jax.jit
def _jacobians_of_network(weights, x):
    found = jax.vmap(jax.jacfwd(network), (None, 0))(weights, x)
    return jnp.concatenate([j.reshape(len(x), 3, -1) for j in found], -1)


def test_a_linear_model_by_hand():
    def linear(params, x):
        return x @ params["w"] + params["b"]

    params = {"w": normal(3, 2), "b": normal(2)}
    found = empirical_ntk(linear, params, X1, X2)
    expected = (X1 @ X2.T + 1)[:, :, None, None] * np.eye(2)
    close(found, expected)


def test_our_models_and_one_array_of_parameters():
    params = mlp.init(jax.random.key(0), (3, 4, 2))
    layers = empirical_ntk_per_layer(mlp.apply, params, X1, outputs="trace")
    assert list(layers) == ["0", "1"]
    close(sum(layers.values()), empirical_ntk(mlp.apply, params, X1, outputs="trace"))
    only = empirical_ntk_per_layer(lambda w, x: w @ x, X1[0], X1, X2)
    assert list(only) == ["params"]
    close(only["params"][..., 0, 0], X1 @ X2.T)


@pytest.mark.parametrize("method", METHODS)
def test_vmap_over_parameters_equals_a_loop_and_grad_is_that_of_the_formula(method):
    def product(params, x):
        return params[0] * params[1] ** 2 * x

    def trace(params):
        x = jnp.array([1.0, 2.0])
        kernel = empirical_ntk(
            product, params, x, method=method, outputs="trace", block_size=1
        )
        return jnp.sum(kernel)  # 9 (b^4 + 4 a^2 b^2)

    many = jnp.array([[1.0, 2.0], [-0.5, 3.0]])
    both = jax.jit(jax.vmap(jax.value_and_grad(trace)))(many)
    a, b = np.asarray(many).T
    close(both[0], 9 * (b**4 + 4 * a**2 * b**2), 1e3)
    slopes = 9 * np.stack([8 * a * b**2, 4 * b**3 + 8 * a**2 * b], 1)
    close(both[1], slopes, 1e3)
    close([trace(p) for p in many], both[0], 1e3)


@pytest.mark.parametrize("method", METHODS)
def test_dtypes(method):
    for dtype, expected in ((jnp.bfloat16, np.float32), (np.float16, np.float32)):
        w, x = jnp.asarray(X1[0], dtype), jnp.asarray(X1, dtype)
        kernel = empirical_ntk(lambda w, x: w * x, w, x, method=method, outputs="trace")
        assert kernel.dtype == expected
        exact = np.asarray(x, np.float64)
        # Products go through apply's own arithmetic, the others only derivatives.
        error = 1e-2 if method == "products" else 1e-5
        np.testing.assert_allclose(kernel, exact @ exact.T / 3, rtol=error, atol=error)
    with jax.enable_x64(True):
        for params, x, expected in (
            (X1[0], X1, np.float32),
            (np.float64(X1[0]), np.float64(X1), np.float64),
        ):
            kernel = empirical_ntk(lambda w, x: w * x, params, x, method=method)
            assert kernel.dtype == expected
        mixed = {"half": jnp.asarray(X1[0], jnp.bfloat16), "double": np.float64(X1[0])}

        def both(params, x):
            return jnp.sum((params["half"] + params["double"]) * x)

        kernel = empirical_ntk(both, mixed, X1, method=method, outputs="trace")
        assert kernel.dtype == np.float64


@pytest.mark.parametrize("outputs", OUTPUTS)
def test_products_of_outputs(outputs):
    f1, f2 = (
        np.asarray(jax.vmap(partial(flat_outputs, apply), (None, 0))(PARAMS, x))
        for x in (INPUTS, OTHERS)
    )
    for block_size in (None, 2):
        call = partial(
            empirical_nngp,
            apply,
            PARAMS,
            INPUTS,
            outputs=outputs,
            block_size=block_size,
        )
        close(call(OTHERS), reduced(np.einsum("ia,jb->ijab", f1, f2), outputs), 10)
        symmetric = np.asarray(call())
        close(symmetric, reduced(np.einsum("ia,jb->ijab", f1, f1), outputs), 10)
        axes = (1, 0, 2)[: symmetric.ndim] if outputs != "full" else (1, 0, 3, 2)
        np.testing.assert_array_equal(symmetric, symmetric.transpose(axes))
    # Parameters are not differentiated: integers will do.
    assert empirical_nngp(lambda w, x: w * x, 2, X1[:, 0], outputs="trace").shape == (
        5,
        5,
    )


@pytest.mark.parametrize("method", METHODS)
def test_wide_outputs_never_hold_all_pairs_of_them(method):
    n, k = 3, 400

    def wide(w, x):
        return jnp.sin(w * x)

    for outputs, shape in (("trace", (n, n)), ("diagonal", (n, n, k))):
        call = jax.jit(partial(empirical_ntk, wide, outputs=outputs, method=method))
        args = jnp.ones(k), jnp.ones((n, k))
        assert call(*args).shape == shape
        memory = call.lower(*args).compile().memory_analysis()
        # Jacobians are (n, k, k) here: 1.9 MB in float32; all pairs are 5.8 MB.
        assert memory.temp_size_in_bytes < 4 * n * n * k * k


@pytest.mark.parametrize("outputs", ["diagonal", "trace"])
@pytest.mark.parametrize("at_a_time", [1, 2, 3])  # of 5 outputs
def test_outputs_are_taken_in_turn(at_a_time, outputs, monkeypatch):
    size = sum(np.size(leaf) for leaf in jax.tree.leaves(PARAMS))
    for x2, j2 in ((OTHERS, J2), (None, J1)):
        examples = 5 if x2 is None else 9
        monkeypatch.setattr(jacobian, "HELD", at_a_time * examples * size)
        call = jax.jit(
            partial(empirical_ntk, apply, outputs=outputs, method="jacobian")
        )
        found = call(PARAMS, INPUTS, x2)
        rows = str(jax.make_jaxpr(call)(PARAMS, INPUTS, x2))
        assert f"f32[5,{at_a_time},6,3]" in rows
        assert "f32[5,5,6,3]" not in rows
        close(found, reduced(reference(J1, j2), outputs))


def linear(w, x):
    return x @ w


def batched(w, x):
    return x.reshape(x.shape[0], -1) @ w


W = normal(3, 2)
IMAGES = normal(4, 3, 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            partial(empirical_ntk, batched, W, IMAGES),
            r"failed on an example of shape \(3, 1\) .* not on a batch of one, so it "
            r"is written for batches: pass lambda params, x: apply\(params, jax.tree",
        ),
        (
            partial(empirical_ntk, linear, W, X1[:, :2]),
            r"failed on an example of shape \(2,\) .* if it is written for batches, "
            r"pass lambda .* The failure was TypeError: dot_general requires",
        ),
        (
            partial(empirical_ntk, lambda w: w, W, X1),
            "The failure was TypeError: .* takes",
        ),
        (
            partial(empirical_ntk, linear, {"a": {"w": np.arange(3)}}, X1),
            r"got params\['a'\]\['w'\] of dtype int32; where can leave it out",
        ),
        (
            partial(empirical_ntk, linear, [X1[0], np.ones(3, np.complex64)], X1),
            r"got params\[1\] of dtype complex64",
        ),
        (partial(empirical_ntk, linear, {"a": "w"}, X1), r"got params\['a'\] = 'w'"),
        (partial(empirical_ntk, linear, (), X1), "at least one entry that counts"),
        (partial(empirical_ntk, linear, W[:0], X1), "at least one entry that counts"),
        (
            partial(empirical_ntk, linear, {"a": W}, X1, where={"a": False}),
            r"entry that counts, got none with where=\{'a': False\}",
        ),
        (
            partial(empirical_ntk, linear, {"a": W}, X1, where={"b": True}),
            r"where must be None or a prefix of the tree params, PyTreeDef.*got \{'b'",
        ),
        (partial(empirical_ntk, linear, W, X1, where=1), "hold booleans, got 1"),
        (
            partial(empirical_ntk, lambda w, x: (x @ w).astype(int), W, X1),
            "apply must give real numbers, got outputs of dtype int32",
        ),
        (
            partial(empirical_ntk, lambda w, x: (x @ w) + 1j, W, X1),
            "apply must give real numbers, got outputs of dtype complex64",
        ),
        (partial(empirical_ntk, lambda w, x: {}, W, X1), "at least one output, got {}"),
        (
            partial(empirical_ntk, linear, W, X1[:0]),
            r"x1 must have examples, got shapes \[\(0, 3\)\]",
        ),
        (partial(empirical_ntk, linear, W, X1, X2[:0]), "x2 must have examples"),
        (
            partial(empirical_ntk, linear, W, {"a": X1, "b": X2}),
            r"x1 must hold .* the same number .* got shapes \[\(5, 3\), \(4, 3\)\]",
        ),
        (partial(empirical_ntk, linear, W, 3.0), r"first axis, got shapes \[\(\)\]"),
        (partial(empirical_ntk, linear, W, {}), r"first axis, got shapes \[\]"),
        (
            partial(empirical_ntk, linear, W, X1, X2[:, :2]),
            r"x2 must have examples of shape \(3,\), got \(2,\)",
        ),
        (partial(empirical_ntk, linear, W, X1, [X2]), "x2 must be a tree like x1"),
        (partial(empirical_ntk, linear, W, X1, block_size=0), "integer or None, got 0"),
        (
            partial(empirical_ntk, linear, W, X1, block_size=-2),
            "integer or None, got -2",
        ),
        (partial(empirical_ntk, linear, W, X1, block_size=2.0), "or None, got 2.0"),
        (partial(empirical_ntk, linear, W, X1, block_size=True), "or None, got True"),
        (
            partial(empirical_ntk, linear, W, X1, outputs="all"),
            "outputs must be one of full, diagonal, trace; got 'all'",
        ),
        (
            partial(empirical_ntk, linear, W, X1, method="fast"),
            "method must be one of auto, jacobian, products, structured; got 'fast'",
        ),
        (partial(empirical_ntk_per_layer, linear, W, X1, method=3), "method must be"),
        (partial(empirical_ntk_per_layer, linear, W, X1[:0]), "x1 must have examples"),
        (
            partial(empirical_nngp, linear, W, X1, outputs=None),
            "outputs must be one of",
        ),
        (partial(empirical_nngp, linear, W, X1, block_size=0), "block_size must be"),
        (partial(empirical_nngp, batched, W, IMAGES), "it is written for batches"),
    ],
)
def test_rejects(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_numbers_that_are_not_finite_are_named_where_they_are_known():
    bad = X1.copy()
    bad[[1, 3]] = np.nan
    for function in (empirical_ntk, empirical_ntk_per_layer, empirical_nngp):
        for block_size in (None, 2):
            call = partial(function, linear, W, block_size=block_size)
            with pytest.raises(ValueError, match=r"others for examples 1, 3 of x1$"):
                call(bad)
            with pytest.raises(ValueError, match=r"others for examples 1, 3 of x2$"):
                call(X1, bad)
    with pytest.raises(ValueError, match="examples 0, 1, 2, 3, 4 and 2 more of x1"):
        empirical_ntk(linear, W * np.inf, np.ones((7, 3)))

    def root(w, x):
        return jnp.sqrt(w * x)

    x = np.array([1.0, 0.0, 2.0])
    with pytest.raises(
        ValueError, match=r"examples 1 of x1: there the outputs of apply"
    ):
        empirical_ntk(root, 1.0, x)
    with pytest.raises(ValueError, match=r"examples 1 of x2: there"):
        empirical_ntk(root, 1.0, x[:1], x)
    with pytest.raises(ValueError, match=r"the pair x1\[1\], x1\[1\]"):
        empirical_ntk(lambda w, x: w * x, 1.0, np.float32([1, 1e30, 1]))
    # What is traced is not known.
    assert np.isnan(jax.jit(partial(empirical_ntk, linear))(W, bad)).any()
    assert np.isnan(jax.jit(partial(empirical_nngp, linear))(W, bad)).any()


def test_nothing_is_promoted_and_no_warning_is_given():
    with jax.numpy_dtype_promotion("strict"), warnings.catch_warnings():
        warnings.simplefilter("error")
        for method in METHODS:
            empirical_ntk(linear, jnp.asarray(W), X1, method=method, block_size=2)


@pytest.mark.parametrize("method", METHODS)
def test_matrix_products_are_in_full_precision(method):
    for function, outputs in (
        *((partial(empirical_ntk, method=method), outputs) for outputs in OUTPUTS),
        (empirical_nngp, "trace"),
    ):
        program = jax.make_jaxpr(partial(function, linear, outputs=outputs))(W, X1, X2)
        products = str(program).count("dot_general[")
        assert (
            0 < products == str(program).count("Precision.HIGHEST, Precision.HIGHEST")
        )


def test_float64_on_request_in_32_bit_mode():
    params = {"w": normal(3, 4), "b": normal(4)}

    def apply(params, x):
        return jnp.tanh(x @ params["w"] + params["b"])

    with jax.enable_x64(True):
        exact = jax.tree.map(np.float64, params)
        expected = np.asarray(empirical_ntk(apply, exact, np.float64(X1)))
        outputs = np.asarray(empirical_nngp(apply, exact, np.float64(X1)))
    found = empirical_ntk(apply, params, X1, dtype=jnp.float64)
    assert found.dtype == np.float64
    assert empirical_ntk(apply, params, X1).dtype == np.float32
    np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-13)
    found = np.asarray(empirical_nngp(apply, params, X1, dtype="float64"))
    np.testing.assert_allclose(found, outputs, rtol=1e-13)
    layers = empirical_ntk_per_layer(apply, params, X1, dtype=np.float64)
    np.testing.assert_allclose(sum(map(np.asarray, layers.values())), expected)
    with pytest.raises(ValueError, match="dtype must be float32, float64 or None"):
        empirical_ntk(apply, params, X1, dtype=jnp.int32)


@pytest.mark.parametrize("method", METHODS)
def test_parameters_without_entries_are_left_out(method):
    params = {"w": normal(3, 2), "none": normal(0, 4)}

    def apply(params, x):
        return jnp.tanh(x @ params["w"]) + params["none"].sum()

    expected = empirical_ntk(lambda w, x: jnp.tanh(x @ w), params["w"], X1)
    found = empirical_ntk(apply, params, X1, method=method)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
