from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import optim
from tests.optim.trajectories import assert_follows, run

GOLDEN = np.load(Path(__file__).parent.parent / "golden/clipping.npz")
LEAVES = ("w1", "b1", "w2")
TREE = {name: GOLDEN[f"g_{name}"] for name in LEAVES}


@pytest.mark.parametrize("i", range(5))
def test_golden_global_norm(i):
    with jax.enable_x64(True):
        transform = optim.clip_by_global_norm(float(GOLDEN["max_norms"][i]))
        clipped = jax.tree.map(np.asarray, run(transform, [TREE], TREE)[0])
    for name in LEAVES:
        expected = GOLDEN[f"exact{i}_{name}"]
        np.testing.assert_allclose(clipped[name], expected, rtol=0, atol=1e-12)


def test_golden_value():
    with jax.enable_x64(True):
        clipped = jax.tree.map(np.asarray, run(optim.clip(1.0), [TREE], TREE)[0])
    for name in LEAVES:
        np.testing.assert_array_equal(clipped[name], GOLDEN[f"value1_{name}"])


def test_golden_trajectory():
    transform = optim.chain(optim.clip_by_global_norm(5.0), optim.momentum(0.02, 0.5))
    assert_follows(transform, "clip5_momentum_exact")


def test_global_norm():
    with jax.enable_x64(True):
        np.testing.assert_allclose(
            float(optim.global_norm(TREE)), GOLDEN["global_norm"], rtol=1e-14
        )
    assert optim.global_norm({}) == 0
    assert optim.global_norm({"z": jnp.array([3 + 4j]), "none": None}) == 5


def test_the_norm_of_half_precision_does_not_overflow():
    leaf = jnp.full(4, 300.0, jnp.float16)  # 300**2 is more than a float16 holds
    np.testing.assert_allclose(optim.global_norm(leaf), 600.0)
    (clipped,) = run(optim.clip_by_global_norm(1.0), [leaf], leaf)
    assert clipped.dtype == jnp.float16
    np.testing.assert_allclose(clipped, np.full(4, 0.5), rtol=1e-3)


def test_zero_stays_zero_and_a_bound_may_be_zero_or_infinite():
    zeros, ones = jnp.zeros(3), jnp.ones(3)
    for bound in (0.0, 1.0, float("inf")):
        for make in (optim.clip_by_global_norm, optim.clip):
            np.testing.assert_array_equal(run(make(bound), [zeros], zeros)[0], zeros)
            expected = ones if bound > 1 else None
            if expected is not None:
                np.testing.assert_array_equal(run(make(bound), [ones], ones)[0], ones)


def test_what_is_not_finite_stays_so():
    gradient = {"a": jnp.array([jnp.nan, 1.0]), "b": jnp.array([2.0])}
    (by_value,) = run(optim.clip(1.0), [gradient], gradient)
    np.testing.assert_array_equal(by_value["a"], [np.nan, 1.0])
    np.testing.assert_array_equal(by_value["b"], [1.0])
    (by_norm,) = run(optim.clip_by_global_norm(1.0), [gradient], gradient)
    assert np.isnan(by_norm["a"]).all()
    assert np.isnan(by_norm["b"]).all()
    infinite = jnp.array([jnp.inf, 1.0])
    (by_norm,) = run(optim.clip_by_global_norm(1.0), [infinite], infinite)
    np.testing.assert_array_equal(by_norm, [np.nan, 0.0])


@pytest.mark.parametrize("make", [optim.clip_by_global_norm, optim.clip])
def test_vmap_over_the_bound_equals_a_loop(make):
    gradient = np.float32([-3.0, 0.5, 1.0])

    def clipped(bound):
        return run(make(bound), [gradient], gradient)[0]

    bounds = np.float32([0.2, 1.0, 9.0])
    loop = [clipped(float(bound)) for bound in bounds]
    np.testing.assert_allclose(jax.vmap(clipped)(bounds), loop, rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "name"),
    [(optim.clip_by_global_norm, "max_norm"), (optim.clip, "max_delta")],
)
@pytest.mark.parametrize("bound", [-1.0, float("nan")])
def test_a_wrong_bound_raises(make, name, bound):
    with pytest.raises(ValueError, match=rf"{name} must be in \[0, inf\]"):
        make(bound)
