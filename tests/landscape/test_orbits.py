import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.landscape import (
    Axis,
    Group,
    Move,
    Symmetry,
    act,
    mlp_symmetry,
    orbit_average,
    sampled_orbit_average,
)
from jaxdl.models import mlp
from tests.landscape import networks


def elements(sizes, signs):
    """All elements of a product of groups, by brute force."""
    units = []
    for m in sizes:
        permutations = [np.array(p) for p in itertools.permutations(range(m))]
        factors = [np.ones(m)]
        if signs:
            factors = [np.array(s) for s in itertools.product((-1.0, 1.0), repeat=m)]
        units.append([(p, f) for p in permutations for f in factors])
    return itertools.product(*units)


def brute_force(symmetry, params, signs):
    names, sizes = zip(*((n, g.size) for n, g in symmetry.groups), strict=True)
    moves = [
        {
            name: Move(p.astype(np.int32), f.astype(np.float32) if signs else None)
            for name, (p, f) in zip(names, units, strict=True)
        }
        for units in elements(sizes, signs)
    ]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *moves)
    moved = jax.vmap(act, (None, 0, None))(symmetry, stacked, params)
    return jax.tree.map(lambda x: np.mean(x, 0), moved)


@pytest.mark.parametrize(
    ("params", "symmetry", "signs"),
    [
        (
            networks.layers((2, 3, 4, 1)),
            mlp_symmetry(networks.layers((2, 3, 4, 1)), "gelu"),
            False,
        ),
        (
            networks.layers((2, 3, 1)),
            mlp_symmetry(networks.layers((2, 3, 1)), "tanh"),
            True,
        ),
        (networks.recurrent_params(3), networks.recurrent_symmetry(3), True),
    ],
)
def test_mean_over_all_elements(params, symmetry, signs):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
        orbit_average(symmetry, params),
        brute_force(symmetry, params, signs),
    )


def test_one_group_on_two_axes_and_blocks():
    square = Symmetry({"h": Group(4)}, [Axis("w", 0, "h"), Axis("w", 2, "h")])
    w = np.random.default_rng(0).normal(size=(4, 2, 4)).astype(np.float32)
    got = orbit_average(square, {"w": w})["w"]
    np.testing.assert_allclose(
        got, brute_force(square, {"w": w}, False)["w"], atol=1e-6
    )
    blocks = Symmetry({"h": Group(3)}, [Axis("w", 1, "h", outer=2, inner=2)])
    w = np.random.default_rng(0).normal(size=(2, 12)).astype(np.float32)
    got = orbit_average(blocks, {"w": w})["w"]
    np.testing.assert_allclose(
        got, brute_force(blocks, {"w": w}, False)["w"], atol=1e-6
    )


def test_the_loss_rises_so_the_landscape_is_not_convex():
    rng = np.random.default_rng(0)
    params = networks.layers((3, 6, 5, 1))
    symmetry = mlp_symmetry(params, "relu")
    x = rng.normal(size=(50, 3)).astype(np.float32)
    y = jax.vmap(mlp.apply, (None, 0))(params, x)

    def loss(params):
        return jnp.mean((jax.vmap(mlp.apply, (None, 0))(params, x) - y) ** 2)

    average = orbit_average(symmetry, params)
    assert loss(params) == 0
    assert loss(average) > 0.1
    few, many = (
        sampled_orbit_average(jax.random.key(0), symmetry, params, draws)
        for draws in (2, 5000)
    )
    gap = [np.max(np.abs(p[1].kernel - average[1].kernel)) for p in (few, many)]
    assert gap[1] < 0.05 < gap[0]
    assert loss(few) > 0


def test_sampled_mean_of_one_draw_is_an_element():
    params = networks.layers((2, 3, 1))
    symmetry = mlp_symmetry(params, "tanh")
    one = sampled_orbit_average(jax.random.key(3), symmetry, params, 1)
    np.testing.assert_allclose(
        np.sort(np.abs(one[0].bias)), np.sort(np.abs(params[0].bias)), rtol=1e-6
    )


def test_errors():
    params = {"w": np.zeros((2, 2, 2), np.float32)}
    cube = Symmetry({"h": Group(2)}, [Axis("w", i, "h") for i in range(3)])
    with pytest.raises(ValueError, match="must act on one axis of 'w'"):
        orbit_average(cube, params)
    with pytest.raises(ValueError, match="draws must be"):
        sampled_orbit_average(jax.random.key(0), cube, params, 0)
