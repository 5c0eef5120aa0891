import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import tree
from jaxdl.landscape import (
    act,
    balancing_element,
    canonical_element,
    canonical_form,
    check_symmetry,
    mlp_symmetry,
    quantity,
    random_element,
    rescaling_form,
)
from tests.landscape import networks

KEY = jax.random.key(0)
SIZES = (4, 5, 7, 3)
CASES = {
    "relu": (networks.layers(SIZES), mlp_symmetry(networks.layers(SIZES), "relu")),
    "tanh": (networks.layers(SIZES), mlp_symmetry(networks.layers(SIZES), "tanh")),
    "gelu": (networks.layers(SIZES), mlp_symmetry(networks.layers(SIZES), "gelu")),
    "residual": (networks.residual_params(), networks.residual_symmetry()),
    "residual signs": (
        networks.residual_params(),
        networks.residual_symmetry(signs=True),
    ),
    "recurrent": (networks.recurrent_params(), networks.recurrent_symmetry()),
    "conv": (networks.conv_params(), networks.conv_symmetry()),
}
form = jax.jit(canonical_form)


@pytest.mark.parametrize("name", CASES)
def test_the_form_is_the_same_all_over_an_orbit(name):
    params, symmetry = CASES[name]
    expected = form(symmetry, params)
    for seed in range(3):
        element = random_element(jax.random.key(seed), symmetry)
        moved = act(symmetry, element, params)
        got = form(symmetry, moved)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5),
            got,
            expected,
        )
        assert not np.allclose(jax.tree.leaves(moved)[0], jax.tree.leaves(params)[0])


@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_the_form_is_a_member_of_the_orbit(name):
    params, symmetry = CASES[name]
    element = canonical_element(symmetry, params)
    jax.tree.map(
        np.testing.assert_array_equal,
        canonical_form(symmetry, params),
        act(symmetry, element, params),
    )
    again = canonical_form(symmetry, canonical_form(symmetry, params))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        again,
        canonical_form(symmetry, params),
    )


def test_another_network_has_another_form():
    params, symmetry = CASES["relu"]
    other = networks.layers(SIZES, seed=1)
    gap = tree.norm(tree.subtract(form(symmetry, params), form(symmetry, other)))
    assert gap > 1


def test_tied_weights_in_are_ordered_by_weights_out():
    # A split unit: the same weights in, different ones out, twice in both orders.
    params, _ = CASES["tanh"]
    first, second, last = params
    kernel = first.kernel.copy()
    kernel[:, 2] = kernel[:, 4] * (1 + 1e-9)
    bias = first.bias.copy()
    bias[2] = bias[4]
    tied = (first._replace(kernel=kernel, bias=bias), second, last)
    symmetry = mlp_symmetry(tied, "tanh")
    expected = form(symmetry, tied)
    for seed in range(8):
        moved = act(symmetry, random_element(jax.random.key(seed), symmetry), tied)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
            form(symmetry, moved),
            expected,
        )


def test_balanced_weights_have_the_least_norm():
    with jax.enable_x64(True):
        params = networks.layers(SIZES, dtype=np.float64)
        symmetry = mlp_symmetry(params, "relu")
        balanced = act(symmetry, balancing_element(symmetry, params), params)
        for values in quantity(rescaling_form(symmetry), balanced).values():
            np.testing.assert_allclose(values, 0, atol=1e-12)
        least = tree.norm(balanced)
        for seed in range(5):
            element = random_element(jax.random.key(seed), symmetry, spread=0.01)
            assert tree.norm(act(symmetry, element, balanced)) > least


def test_dead_units_and_normalized_weights_get_norm_one():
    first, second = networks.layers((4, 3, 2))
    dead = (
        first._replace(kernel=first.kernel * [1, 0, 1], bias=first.bias * [1, 0, 1]),
        second._replace(kernel=second.kernel * np.array([[1], [1], [0]])),
    )
    dead = jax.tree.map(np.float32, dead)
    symmetry = mlp_symmetry(dead, "relu")
    first, second = act(symmetry, balancing_element(symmetry, dead), dead)
    np.testing.assert_allclose(np.linalg.norm(second.kernel[1]), 1, rtol=1e-5)
    size = np.hypot(np.linalg.norm(first.kernel[:, 2]), first.bias[2])
    np.testing.assert_allclose(size, 1, rtol=1e-5)
    params, symmetry = CASES["conv"]
    moved = act(symmetry, balancing_element(symmetry, params), params)
    norms = np.linalg.norm(moved["conv0"].reshape(-1, 5), axis=0)
    np.testing.assert_allclose(norms, 1, rtol=1e-5)


def test_vmap_equals_a_loop_and_dtypes_are_kept():
    params, symmetry = CASES["relu"]
    many = jax.tree.map(lambda x: np.stack([x, 2 * x]), params)
    got = jax.jit(jax.vmap(canonical_form, (None, 0)))(symmetry, many)
    for i in range(2):
        one = form(symmetry, jax.tree.map(lambda x, i=i: x[i], many))
        jax.tree.map(
            lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-4, atol=1e-5),
            got,
            one,
        )
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(got))


@pytest.mark.parametrize(
    ("name", "apply"),
    [
        ("residual signs", networks.residual),
        ("recurrent", networks.recurrent),
        ("conv", networks.conv),
    ],
)
def test_the_declarations_of_these_tests_hold(name, apply):
    params, symmetry = CASES[name]
    shape = (3, 8, 8) if name == "conv" else (3, 4)
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    check = jax.jit(check_symmetry, static_argnums=0)(apply, params, symmetry, x, KEY)
    assert check.holds, check


def test_rejects_other_parameters():
    params, symmetry = CASES["relu"]
    with pytest.raises(ValueError, match="params must have"):
        canonical_form(symmetry, params[:2])
