import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jaxdl.landscape import (
    cosines,
    linear_action,
    linear_tangents,
    mlp_symmetry,
    scale_hessian_products,
    scale_tangents,
    softmax_shift,
    softmax_tangents,
)
from jaxdl.models import mlp
from jaxdl.nn import Dense, identity
from tests.landscape import networks

RNG = np.random.default_rng(0)
SIZES = (4, 5, 7, 3)
X = RNG.normal(size=(9, 4))
Y = RNG.normal(size=(9, 3))


def loss(params, activation, kind):
    z = jax.vmap(lambda x: mlp.apply(params, x, activation=activation))(X)
    if kind == "ce":
        return jnp.mean(jax.nn.logsumexp(z, 1) - z[:, 1])
    return jnp.mean((z - Y) ** 2)


def derivatives(params, activation, kind):
    """Gradient and Hessian in float64, with the vector's layout."""
    flat, unravel = ravel_pytree(params)

    def of_vector(v):
        return loss(unravel(v), activation, kind)

    return jax.jit(jax.grad(of_vector))(flat), jax.jit(jax.hessian(of_vector))(flat)


def rows(tangents):
    return np.asarray(jax.vmap(lambda t: ravel_pytree(t)[0])(tangents))


def test_scales():
    with jax.enable_x64(True):
        params = networks.layers(SIZES, dtype=np.float64)
        symmetry = mlp_symmetry(params, "relu")
        gradient, hessian = derivatives(params, jax.nn.relu, "mse")
        tangents = scale_tangents(symmetry, params)
        _, unravel = ravel_pytree(params)
        predicted = scale_hessian_products(symmetry, params, unravel(gradient))
        np.testing.assert_allclose(cosines(tangents, unravel(gradient)), 0, atol=1e-14)
        t = rows(tangents)
        np.testing.assert_allclose(t @ hessian, rows(predicted), atol=1e-12)
        assert t.shape == (12, len(gradient))
        assert np.linalg.matrix_rank(t) == 12
        assert np.linalg.norm(predicted[0].kernel) > 1e-3
        # By hand: unit 1 of the first layer.
        np.testing.assert_array_equal(
            tangents[0].kernel[1, :, 1], params[0].kernel[:, 1]
        )
        np.testing.assert_array_equal(tangents[1].kernel[1, 1], -params[1].kernel[1])


def test_linear_layers():
    with jax.enable_x64(True):
        params = networks.layers(SIZES, dtype=np.float64)
        gradient, _ = derivatives(params, identity, "mse")
        for layer, m in ((0, 5), (1, 7)):
            tangents = linear_tangents(params, layer)
            t = rows(tangents)
            assert t.shape == (m * m, len(gradient))
            np.testing.assert_allclose(t @ gradient, 0, atol=1e-12)
        matrix = RNG.normal(size=(7, 7))
        moved = linear_action(params, 1, matrix)
        np.testing.assert_allclose(
            loss(moved, identity, "mse"), loss(params, identity, "mse"), rtol=1e-11
        )
        small = linear_action(params, 1, np.eye(7) + 1e-7 * matrix)
        change = np.asarray(ravel_pytree(small)[0] - ravel_pytree(params)[0])
        np.testing.assert_allclose(change / 1e-7, matrix.reshape(-1) @ t, atol=1e-5)


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_null_space_of_a_linear_network_at_a_critical_point(rank):
    """r^2 + (p - r)(2 r + d_o + d_i - 2 rho) null vectors, some of them of GL."""
    d_in, p, d_out, rho = 4, 3, 5, 4
    with jax.enable_x64(True):
        u, _ = np.linalg.qr(RNG.normal(size=(d_in, d_in)))
        v, _ = np.linalg.qr(RNG.normal(size=(d_out, d_out)))
        s = np.array([4.0, 3.0, 2.0, 1.0])
        target = (u * s) @ v[:, :4].T
        first, second = np.zeros((d_in, p)), np.zeros((p, d_out))
        for i in range(rank):
            first[:, i] = u[:, i] * np.sqrt(s[i])
            second[i] = v[:, i] * np.sqrt(s[i])
        params = (Dense(first, None), Dense(second, None))
        flat, unravel = ravel_pytree(params)

        def of_vector(w):
            a, b = unravel(w)
            return jnp.sum((target - a.kernel @ b.kernel) ** 2) / 2

        assert np.linalg.norm(jax.grad(of_vector)(flat)) < 1e-13
        hessian = np.asarray(jax.jit(jax.hessian(of_vector))(flat))
        null = np.sum(np.abs(np.linalg.eigvalsh(hessian)) < 1e-10)
        assert null == rank**2 + (p - rank) * (2 * rank + d_out + d_in - 2 * rho)
        t = rows(linear_tangents(params, 0))
        np.testing.assert_allclose(t @ hessian, 0, atol=1e-12)
        # The stabilizer of a point of rank r is GL(p - r), in dimensions.
        assert np.linalg.matrix_rank(t) == p**2 - (p - rank) ** 2


def test_softmax_has_null_vectors_everywhere():
    with jax.enable_x64(True):
        params = networks.layers(SIZES, dtype=np.float64)
        gradient, hessian = derivatives(params, jnp.tanh, "ce")
        t = rows(softmax_tangents(params))
        assert t.shape == (8, len(gradient))
        assert np.linalg.matrix_rank(t) == 8
        np.testing.assert_allclose(t @ gradient, 0, atol=1e-15)
        np.testing.assert_allclose(t @ hessian, 0, atol=1e-14)
        moved = softmax_shift(params, RNG.normal(size=7), 3.0)
        np.testing.assert_allclose(
            loss(moved, jnp.tanh, "ce"), loss(params, jnp.tanh, "ce"), rtol=1e-12
        )
        other = loss(moved, jnp.tanh, "mse") - loss(params, jnp.tanh, "mse")
        assert abs(other) > 0.1


def test_without_biases():
    params = networks.layers(SIZES, use_bias=False)
    assert rows(softmax_tangents(params)).shape == (7, 20 + 35 + 21)
    assert rows(linear_tangents(params, 0)).shape == (25, 76)
    assert softmax_shift(params, np.ones(7, np.float32), 1.0)[-1].bias is None


def test_cosines_by_hand():
    tangents = {"w": jnp.array([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])}
    got = cosines(tangents, {"w": jnp.array([2.0, 0.0])})
    np.testing.assert_allclose(got, [1, np.sqrt(0.5), 0], rtol=1e-6)


def test_errors():
    params = networks.layers(SIZES)
    with pytest.raises(ValueError, match=r"layer must be an integer in 0\.\.1"):
        linear_tangents(params, 2)
    with pytest.raises(ValueError, match=r"matrix must be \(5, 5\)"):
        linear_action(params, 0, jnp.eye(4))
    with pytest.raises(ValueError, match=r"shift must be \(7,\)"):
        softmax_shift(params, jnp.ones(3), 0.0)
