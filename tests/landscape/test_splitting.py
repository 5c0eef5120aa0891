from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import tree
from jaxdl.landscape import (
    find_critical_points,
    split_inertia,
    split_neuron,
    splitting_matrix,
)
from jaxdl.models import mlp
from jaxdl.nn import Dense
from tests.landscape import networks, xor

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 2))
TEACHER = np.tanh(2 * X @ RNG.normal(size=(2, 3)) + RNG.normal(size=3))
Y = {
    1: TEACHER @ np.array([[1.0], [-0.6], [0.8]]),
    2: TEACHER @ RNG.normal(size=(3, 2)),
}
MUS = [0.3, 0.5, 0.9, -0.5, 1.7]


def loss(params, k=1):
    outputs = jax.vmap(lambda x: mlp.apply(params, x, activation=jnp.tanh))(X)
    return jnp.sum((outputs - Y[k]) ** 2) / 2


def flat_hessian(params, k):
    flat, unravel = tree.ravel(params)
    return jax.hessian(lambda v: loss(unravel(v), k))(flat)


hessian = jax.jit(flat_hessian, static_argnums=1)
gradient = jax.jit(jax.grad(loss), static_argnums=1)
inertia = jax.jit(partial(split_inertia, loss), static_argnums=(1,))


def parents(k, width, n=40):
    """Critical points, one a value of the loss, with a gap between zero and not."""
    rng = np.random.default_rng(width)
    starts = (
        Dense(rng.normal(size=(n, 2, width)), rng.normal(size=(n, width))),
        Dense(rng.normal(size=(n, width, k)), rng.normal(size=(n, k))),
    )
    found = find_critical_points(
        partial(loss, k=k), starts, "levenberg_marquardt", tol=1e-11
    )
    found = jax.tree.map(np.asarray, found)
    sizes = np.abs(found.eigenvalues)
    clean = found.critical & np.all((sizes < 1e-10) | (sizes > 1e-5), axis=1)
    chosen = {round(float(found.loss[i]), 6): i for i in np.flatnonzero(clean)}
    with jax.enable_x64(True):
        return [
            jax.tree.map(lambda leaf, i=i: jnp.asarray(leaf[i]), found.points)
            for i in chosen.values()
        ]


def counts(values, threshold=1e-9):
    return [
        int(np.sum(values < -threshold)),
        int(np.sum(np.abs(values) <= threshold)),
        int(np.sum(values > threshold)),
    ]


@pytest.mark.parametrize(("k", "width"), [(1, 1), (2, 1), (2, 2)])
def test_the_index_along_the_line(k, width):
    """The exact Hessian of the split network has the counts that are predicted."""
    found = parents(k, width)
    predict = jax.jit(partial(split_inertia, partial(loss, k=k)), static_argnums=1)
    added = set()
    with jax.enable_x64(True):
        for params in found:
            before = counts(np.linalg.eigvalsh(hessian(params, k)))
            for mu in MUS:
                wider = split_neuron(params, width - 1, mu)
                assert tree.norm(gradient(wider, k)) < 1e-9
                after = counts(np.linalg.eigvalsh(hessian(wider, k)))
                more = tuple(int(number) for number in predict(params, width - 1, mu))
                assert after == [a + b for a, b in zip(before, more, strict=True)]
                added.add(more)
    assert k == 2 or len(added) >= 2


def test_one_output_is_ruled_by_the_matrix():
    with jax.enable_x64(True):
        for params in parents(1, 1):
            (w, b), (a, c) = jax.tree.map(np.asarray, params)
            t = np.tanh(X @ w + b)
            r = (t @ a + c - Y[1])[:, 0]
            u = np.c_[X, np.ones(12)]
            weights = r * a[0, 0] * -2 * t[:, 0] * (1 - t[:, 0] ** 2)
            by_hand = (u.T * weights) @ u
            got = splitting_matrix(loss, params, 0)
            np.testing.assert_allclose(got, by_hand, atol=1e-12)
            values = np.linalg.eigvalsh(by_hand)
            inside = split_inertia(loss, params, 0, 0.4)
            outside = split_inertia(loss, params, 0, 1.4)
            if abs(a[0, 0]) < 1e-6:
                continue
            assert inside.negative == np.sum(values < 0) == outside.positive
            assert inside.positive == np.sum(values > 0) == outside.negative
            assert inside.zero == outside.zero == 1


def test_the_function_is_kept_in_any_layer():
    params = networks.layers((3, 4, 7, 5, 2), dtype=np.float32)
    for layer, unit, mu in ((0, 3, 0.2), (1, 0, -1.0), (2, 4, 3.0)):
        wider = split_neuron(params, unit, mu, layer=layer)
        assert wider[layer].kernel.dtype == np.float32
        x = RNG.normal(size=3).astype(np.float32)
        got, want = (mlp.apply(p, x, activation=jnp.tanh) for p in (wider, params))
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(
            wider[layer + 1].kernel[-1], (1 - mu) * params[layer + 1].kernel[unit]
        )
        assert wider[layer].bias[-1] == params[layer].bias[unit]
    no_bias = networks.layers((3, 4, 2), use_bias=False)
    assert split_neuron(no_bias, 0, 0.5)[0].bias is None


def test_vmap_along_the_line():
    params = networks.layers((2, 3, 1))
    line = jax.vmap(lambda mu: split_neuron(params, 1, mu)[1].kernel)(jnp.array(MUS))
    for row, mu in zip(line, MUS, strict=True):
        np.testing.assert_allclose(row, split_neuron(params, 1, mu)[1].kernel)


def test_piecewise_linear_units_have_no_curvature_to_split_by():
    params = networks.layers((2, 3, 1))
    x, y = xor.X.astype(np.float32), xor.Y.astype(np.float32)

    def relu_loss(params):
        outputs = jax.vmap(lambda x: mlp.apply(params, x))(x)
        return jnp.sum((outputs[:, 0] - y) ** 2)

    np.testing.assert_array_equal(splitting_matrix(relu_loss, params, 0), 0)


@pytest.mark.parametrize(
    ("unit", "layer", "message"),
    [
        (3, 0, "unit must be an integer in 0..2, got 3"),
        (-1, 0, "unit must be"),
        (0, 1, "layer must be an integer in 0..0, got 1"),
        (0, -1, "layer must be"),
    ],
)
def test_rejects(unit, layer, message):
    params = networks.layers((2, 3, 1))
    with pytest.raises(ValueError, match=message):
        split_neuron(params, unit, 0.5, layer=layer)
    with pytest.raises(ValueError, match=message):
        splitting_matrix(loss, params, unit, layer=layer)
    with pytest.raises(ValueError, match=message):
        split_inertia(loss, params, unit, 0.5, layer=layer)
