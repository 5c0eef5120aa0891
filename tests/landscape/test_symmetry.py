import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.landscape import (
    Axis,
    Group,
    GroupOrder,
    Move,
    Symmetry,
    act,
    check_symmetry,
    compose,
    group_order,
    identity_element,
    inverse,
    leaf_names,
    mlp_symmetry,
    random_element,
)
from jaxdl.models import mlp
from jaxdl.nn import ACTIVATIONS, Dense
from tests.landscape.networks import layers

RNG = np.random.default_rng(0)
SIZES = (4, 5, 7, 3)
X = RNG.normal(size=(6, 4)).astype(np.float32)
KEY = jax.random.key(0)


PARAMS = layers(SIZES)
SIGNED = mlp_symmetry(PARAMS, "tanh")
SCALED = mlp_symmetry(PARAMS, "relu")


def close(a, b, rtol=1e-5, atol=1e-6):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol, atol), a, b)


def by_hand(params, moves):
    """The action on a multilayer perceptron, as the literature writes it."""
    params = [[np.array(leaf) for leaf in layer] for layer in params]
    for layer, (p, factor) in enumerate(moves):
        kernel, bias = params[layer]
        params[layer] = [(kernel * factor)[:, p], (bias * factor)[p]]
        following = params[layer + 1][0]
        params[layer + 1][0] = (following / factor[:, None])[p]
    return tuple(Dense(*layer) for layer in params)


def test_action_is_that_of_the_literature():
    moves = [(RNG.permutation(m), RNG.uniform(0.5, 2, m)) for m in (5, 7)]
    element = {
        f"hidden{i}": Move(jnp.asarray(p), jnp.asarray(c, jnp.float32))
        for i, (p, c) in enumerate(moves)
    }
    close(act(SCALED, element, PARAMS), by_hand(PARAMS, moves))


def test_permutations_move_numbers_and_round_nothing():
    symmetry = mlp_symmetry(PARAMS, "gelu")
    moved = act(symmetry, random_element(KEY, symmetry), PARAMS)
    for before, after in zip(*map(jax.tree.leaves, (PARAMS, moved)), strict=True):
        np.testing.assert_array_equal(np.sort(before, None), np.sort(after, None))


@pytest.mark.parametrize("name", ["tanh", "relu"])
def test_group_laws(name):
    symmetry = mlp_symmetry(PARAMS, name)
    g, h = (random_element(jax.random.key(i), symmetry) for i in (1, 2))
    product = act(symmetry, compose(symmetry, g, h), PARAMS)
    close(product, act(symmetry, g, act(symmetry, h, PARAMS)))
    back = compose(symmetry, inverse(symmetry, g), g)
    close(back, identity_element(symmetry))
    close(act(symmetry, inverse(symmetry, g), act(symmetry, g, PARAMS)), PARAMS)


NORMALIZED = Symmetry(
    {
        "units": Group(5, signs=True),
        "removed": Group(5, permutes=False, scales=True, follows="units"),
    },
    [
        Axis("w", 1, "units", power=1),
        Axis("w", 1, "removed", power=1),
        Axis("mean", 0, "units", power=1),
        Axis("mean", 0, "removed", power=1),
        Axis("variance", 0, "units"),
        Axis("variance", 0, "removed", power=2),
        Axis("gain", 0, "units"),
        Axis("shift", 0, "units", power=1),
        Axis("out", 0, "units", power=-1),
    ],
    statistics=["mean", "variance"],
)


def normalized(params, x):
    """A tanh layer behind batch normalization as it is evaluated."""
    z = (x @ params["w"] - params["mean"]) / jnp.sqrt(params["variance"])
    return jnp.tanh(z * (1 + params["gain"] - 1) + params["shift"]) @ params["out"]


BATCH_NORM = {
    "w": RNG.normal(size=(4, 5)).astype(np.float32),
    "mean": np.zeros(5, np.float32),
    "variance": np.ones(5, np.float32),
    "gain": np.ones(5, np.float32),
    "shift": np.zeros(5, np.float32),
    "out": RNG.normal(size=(5, 2)).astype(np.float32),
}


def test_a_group_that_follows_another():
    check = check_symmetry(normalized, BATCH_NORM, NORMALIZED, X, KEY)
    assert check.holds
    assert {*check.by_group} == {"units", "removed"}
    g, h = (random_element(jax.random.key(i), NORMALIZED) for i in (1, 2))
    close(
        act(NORMALIZED, compose(NORMALIZED, g, h), BATCH_NORM),
        act(NORMALIZED, g, act(NORMALIZED, h, BATCH_NORM)),
    )
    undone = inverse(NORMALIZED, g)
    close(act(NORMALIZED, undone, act(NORMALIZED, g, BATCH_NORM)), BATCH_NORM)


@pytest.mark.parametrize("forgotten", range(len(NORMALIZED.axes)))
def test_batch_norm_with_an_axis_forgotten_is_caught(forgotten):
    # All means and shifts are zero, all variances and gains one: as at the start.
    axes = [axis for i, axis in enumerate(NORMALIZED.axes) if i != forgotten]
    wrong = Symmetry(NORMALIZED.groups, axes)
    check = check_symmetry(normalized, BATCH_NORM, wrong, X, KEY, draws=2)
    assert not check.holds
    assert check.by_group[NORMALIZED.axes[forgotten].group] > 1e-2


def test_epsilon_of_batch_norm_is_reported():
    def with_epsilon(params, x):
        safe = params | {"variance": params["variance"] + 1e-3}
        return normalized(safe, x)

    check = check_symmetry(with_epsilon, BATCH_NORM, NORMALIZED, X, KEY)
    assert not check.holds
    assert 1e-4 < check.by_group["removed"] < 1e-2
    assert check.by_group["units"] < 1e-6
    loose = check_symmetry(with_epsilon, BATCH_NORM, NORMALIZED, X, KEY, tolerance=0.05)
    assert loose.holds


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_declared_symmetries_hold(name):
    def apply(params, x):
        return mlp.apply(params, x, activation=ACTIVATIONS[name])

    symmetry = mlp_symmetry(PARAMS, name)
    check = check_symmetry(apply, PARAMS, symmetry, X, KEY, draws=2)
    assert check.holds, check


@pytest.mark.parametrize(
    ("claimed", "true"),
    [("tanh", "relu"), ("relu", "tanh"), ("tanh", "sigmoid"), ("relu", "gelu")],
)
def test_the_symmetry_of_another_activation_is_caught(claimed, true):
    def apply(params, x):
        return mlp.apply(params, x, activation=ACTIVATIONS[true])

    symmetry = mlp_symmetry(PARAMS, claimed)
    assert not check_symmetry(apply, PARAMS, symmetry, X, KEY, draws=2).holds


@pytest.mark.parametrize("forgotten", range(len(SCALED.axes)))
def test_a_declaration_wrong_by_one_axis_is_caught(forgotten):
    params = tuple(layer._replace(bias=0 * layer.bias) for layer in PARAMS)
    axes = [axis for i, axis in enumerate(SCALED.axes) if i != forgotten]
    wrong = Symmetry(SCALED.groups, axes)
    check = check_symmetry(mlp.apply, params, wrong, X, KEY, draws=2)
    assert not check.holds
    guilty = SCALED.axes[forgotten].group
    assert all((error > 1e-3) == (g == guilty) for g, error in check.by_group.items())


def test_a_wrong_axis_of_a_square_kernel_and_a_wrong_power_are_caught():
    params = layers((4, 4, 4))
    right = mlp_symmetry(params, "relu")
    swapped = [
        Axis("0/kernel", 0, "hidden0", power=1),
        Axis("1/kernel", 1, "hidden0", power=-1),
    ]
    power = [*right.axes[:-1], Axis("1/kernel", 0, "hidden0", power=-2)]
    biases = [a for a in right.axes if a.leaf.endswith("bias")]
    for axes in ([*swapped, *biases], power):
        wrong = Symmetry(right.groups, axes)
        assert not check_symmetry(mlp.apply, params, wrong, X, KEY, draws=2).holds


def test_two_units_are_always_exchanged():
    # A random permutation of two is the identity half of the time.
    params = layers((4, 2, 3))
    wrong = Symmetry({"h": Group(2)}, [Axis("0/kernel", 1, "h")])
    checks = jax.vmap(
        lambda key: check_symmetry(mlp.apply, params, wrong, X, key, draws=1).holds
    )(jax.random.split(KEY, 20))
    assert not checks.any()


def test_a_function_that_is_nan_does_not_pass():
    def broken(params, x):
        return mlp.apply(params, x) * jnp.nan

    assert not check_symmetry(broken, PARAMS, SCALED, X, KEY, draws=1).holds


def test_blocks_of_a_flattened_axis():
    """Channels flattened behind and before the positions, into a dense layer."""
    x = RNG.normal(size=(3, 2, 4)).astype(np.float32)  # n, positions, inputs
    params = {
        "w": RNG.normal(size=(4, 3)).astype(np.float32),
        "out": RNG.normal(size=(6, 2)).astype(np.float32),
    }

    def last(params, x):
        return jnp.tanh(x @ params["w"]).reshape(-1) @ params["out"]

    def first(params, x):
        return jnp.tanh(x @ params["w"]).T.reshape(-1) @ params["out"]

    for apply, blocks in ((last, {"outer": 2}), (first, {"inner": 2})):
        symmetry = Symmetry(
            {"h": Group(3, signs=True)},
            [Axis("w", 1, "h", 1), Axis("out", 0, "h", -1, **blocks)],
        )
        assert check_symmetry(apply, params, symmetry, x, KEY, draws=2).holds
    assert not check_symmetry(last, params, symmetry, x, KEY, draws=2).holds


def test_order_is_an_exact_integer():
    wide = mlp_symmetry(layers((2, 50, 40, 1)), "tanh")
    order = group_order(wide)
    assert order.discrete == np.prod(
        [k for m in (50, 40) for k in range(2, m + 1)] + [2] * 90, dtype=object
    )
    assert isinstance(order.discrete, int)
    assert group_order(SCALED) == GroupOrder(120 * 5040, 12)
    assert group_order(mlp_symmetry(PARAMS, "gelu")) == GroupOrder(120 * 5040, 0)
    assert group_order(NORMALIZED) == GroupOrder(120 * 32, 5)


def test_random_elements_are_uniform_and_in_the_group():
    symmetry = Symmetry({"h": Group(3, signs=True)}, [])
    draws = jax.vmap(lambda key: random_element(key, symmetry))(
        jax.random.split(KEY, 6000)
    )["h"]
    numbers = np.asarray(draws.permutation) @ [9, 3, 1]
    values, counts = np.unique(numbers, return_counts=True)
    assert len(values) == 6
    assert np.all(np.abs(counts - 1000) < 4 * np.sqrt(1000 * 5 / 6))
    assert {*np.unique(draws.factor)} == {-1.0, 1.0}
    assert abs(np.mean(draws.factor)) < 4 / np.sqrt(18000)
    scaled = random_element(KEY, mlp_symmetry(layers((2, 2000, 1)), "relu"), spread=0.3)
    logs = np.log(scaled["hidden0"].factor)
    assert abs(logs.mean()) < 0.03
    np.testing.assert_allclose(logs.std(), 0.3, rtol=0.1)


def test_vmap_over_elements_equals_a_loop_and_keeps_dtypes():
    keys = jax.random.split(KEY, 3)
    elements = jax.jit(jax.vmap(random_element, (0, None)))(keys, SIGNED)
    many = jax.jit(jax.vmap(act, (None, 0, None)))(SIGNED, elements, PARAMS)
    for i, key in enumerate(keys):
        one = act(SIGNED, random_element(key, SIGNED), PARAMS)
        close(jax.tree.map(lambda x, i=i: x[i], many), one)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(many))
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), PARAMS)
    moved = act(SCALED, random_element(KEY, SCALED), half)
    assert all(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(moved))


def test_double_precision_is_kept():
    with jax.enable_x64(True):
        params = jax.tree.map(lambda x: np.asarray(x, np.float64), PARAMS)
        check = check_symmetry(mlp.apply, params, SCALED, X.astype(float), KEY, draws=2)
        assert check.error < 1e-14
        assert check.tolerance < 2e-8


def test_networks_without_biases():
    params = layers(SIZES, use_bias=False)
    symmetry = mlp_symmetry(params, "relu")
    assert [axis.leaf for axis in symmetry.axes] == [
        *["0/kernel", "1/kernel"],
        *["1/kernel", "2/kernel"],
    ]
    assert check_symmetry(mlp.apply, params, symmetry, X, KEY, draws=1).holds


def test_names_of_leaves():
    tree = {"b": [jnp.zeros(2)], "a": Dense(jnp.zeros((1, 2)), None)}
    assert [*leaf_names(tree)] == ["a/kernel", "b/0"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Group(0), "size must be"),
        (lambda: Group(3, permutes=False), "must have permutes, signs or scales"),
        (lambda: Group(3, follows="a"), "permutes=False"),
        (lambda: Axis("w", -1, "h"), "axis must be an integer >= 0"),
        (lambda: Axis("w", 0, "h", power=0.5), "power must be an integer"),
        (lambda: Axis("w", 0, "h", inner=0), "inner must be"),
        (lambda: Symmetry({}, [Axis("w", 0, "h")]), "names none of the groups"),
        (
            lambda: Symmetry(
                {"a": Group(3), "b": Group(3)}, [Axis("w", 0, "a"), Axis("w", 0, "b")]
            ),
            "one group may permute axis 0 of 'w'",
        ),
        (
            lambda: Symmetry(
                {"a": Group(3), "b": Group(3, permutes=False, scales=True)},
                [Axis("w", 0, "a"), Axis("w", 0, "b")],
            ),
            "must follow it",
        ),
        (
            lambda: Symmetry(
                {"b": Group(3, permutes=False, scales=True, follows="a")}, []
            ),
            "must follow a group of its size",
        ),
        (lambda: mlp_symmetry(PARAMS, "swish"), "activation must be one of"),
        (lambda: mlp_symmetry(PARAMS[::2], "relu"), "must be the layers"),
        (lambda: act(SIGNED, {}, PARAMS), "element must have the groups"),
        (lambda: act(SIGNED, identity_element(SCALED), PARAMS[:2]), "must have '2/k"),
        (
            lambda: act(SIGNED, identity_element(SIGNED), layers((4, 5, 6, 3))),
            "must have length 7",
        ),
        (
            lambda: act(
                SIGNED, identity_element(SIGNED) | {"hidden0": Move(None, None)}, PARAMS
            ),
            "permutation of 'hidden0' must be",
        ),
        (lambda: random_element(KEY, SCALED, spread=-1), "spread must be >= 0"),
        (
            lambda: check_symmetry(mlp.apply, PARAMS, SCALED, X, KEY, draws=0),
            "draws must be",
        ),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()
