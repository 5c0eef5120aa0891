from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import tree
from jaxdl.landscape import growth_rate, tie_units, tied_gap, train_tied
from jaxdl.models import mlp
from jaxdl.optim import adam, momentum, sgd
from tests.landscape import networks

RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 3)).astype(np.float32)
Y = np.sin(2 * X[:, :1])


def loss(params):
    outputs = jax.vmap(lambda x: mlp.apply(params, x, activation=jnp.tanh))(X)
    return jnp.mean((outputs - Y) ** 2)


def test_tie_units_is_the_nearest_tied_network():
    params = networks.layers((3, 5, 7, 2))
    tied = tie_units(params, (1, 6), layer=1)
    np.testing.assert_array_equal(tied[1].kernel[:, 1], tied[1].kernel[:, 6])
    np.testing.assert_array_equal(tied[2].kernel[1], tied[2].kernel[6])
    np.testing.assert_array_equal(tied[1].bias[1], tied[1].bias[6])
    np.testing.assert_array_equal(tied[0].kernel, params[0].kernel)
    np.testing.assert_allclose(
        tied[1].bias[1], (params[1].bias[1] + params[1].bias[6]) / 2, rtol=1e-6
    )
    again = tie_units(tied, (1, 6), layer=1)
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, tied, again)))
    distance = tree.norm(tree.subtract(params, tied))
    gap = tied_gap(params, (1, 6), layer=1)
    np.testing.assert_allclose(gap, np.sqrt(2) * distance, rtol=1e-6)
    assert tied_gap(tied, (1, 6), layer=1) == 0


def test_without_biases():
    params = networks.layers((3, 4, 2), use_bias=False)
    difference = np.r_[
        params[0].kernel[:, 0] - params[0].kernel[:, 1],
        params[1].kernel[0] - params[1].kernel[1],
    ]
    np.testing.assert_allclose(tied_gap(params), np.linalg.norm(difference), rtol=1e-6)
    assert tied_gap(tie_units(params)) == 0


@pytest.mark.parametrize(
    "optimizer", [sgd(0.1), momentum(0.05, 0.9), adam(0.01)], ids=["gd", "hb", "adam"]
)
def test_projection_keeps_units_tied_and_noise_unties_them(optimizer):
    """Width 7, in float32, where rounding alone may untie."""
    params = networks.layers((3, 7, 1))
    train = jax.jit(
        partial(train_tied, loss, optimizer=optimizer, steps=60),
        static_argnames="project",
    )
    kept = train(params, project=True, key=jax.random.key(0), noise=1e-4)
    np.testing.assert_array_equal(kept.gaps, 0)
    noisy = train(params, key=jax.random.key(0), noise=1e-4)
    assert noisy.gaps[0] == 0
    assert noisy.gaps[2] > 1e-7  # the first step of Adam is a sign
    assert noisy.losses[-1] < noisy.losses[0]
    np.testing.assert_allclose(tied_gap(noisy.params), noisy.gaps[-1], rtol=1e-4)


def test_all_zero_start_moves_only_the_output_bias():
    params = jax.tree.map(jnp.zeros_like, networks.layers((3, 7, 1)))
    run = jax.jit(partial(train_tied, loss, optimizer=sgd(0.1), steps=50))(params)
    first, last = run.params
    for leaf in (first.kernel, first.bias, last.kernel):
        np.testing.assert_array_equal(leaf, 0)
    np.testing.assert_allclose(last.bias, np.mean(Y), rtol=1e-4)
    np.testing.assert_array_equal(run.gaps, 0)


def test_growth_rate():
    sizes = np.r_[0.0, 3e-9, 1e-8 * 1.3 ** np.arange(30), 1.0, 1.0].astype(np.float32)
    got = growth_rate(sizes, low=9e-9, high=0.5)
    np.testing.assert_allclose(got, 1.3, rtol=1e-5)
    assert np.isnan(growth_rate(jnp.zeros(5)))
    with pytest.raises(ValueError, match="sizes must be a vector"):
        growth_rate(jnp.zeros((2, 2)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"units": (0, 0)}, "units must be two different"),
        ({"units": (0, 4)}, "units must be two different"),
        ({"layer": 1}, "layer must be an integer in 0..0"),
    ],
)
def test_rejects(options, message):
    params = networks.layers((3, 4, 1))
    for function in (tie_units, tied_gap):
        with pytest.raises(ValueError, match=message):
            function(params, **options)
    with pytest.raises(ValueError, match=message):
        train_tied(loss, params, sgd(0.1), 5, **options)


def test_training_rejects():
    params = networks.layers((3, 4, 1))
    with pytest.raises(ValueError, match="steps must be"):
        train_tied(loss, params, sgd(0.1), 0)
    with pytest.raises(ValueError, match="key must be given"):
        train_tied(loss, params, sgd(0.1), 5, noise=0.1)
