import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import nn

RNG = np.random.default_rng(0)


def test_dense_is_a_matrix_product_and_a_bias():
    kernel, bias, x = (RNG.normal(size=s).astype("f") for s in ((3, 2), (2,), (3,)))
    np.testing.assert_allclose(
        nn.dense(nn.Dense(kernel, bias), x), kernel.T @ x + bias, rtol=1e-5
    )
    np.testing.assert_allclose(
        nn.dense(nn.Dense(kernel, None), x), kernel.T @ x, rtol=1e-5
    )


def test_a_new_layer_has_zero_biases_or_none():
    layer = nn.dense_init(jax.random.key(0), 3, 2)
    assert layer.kernel.shape == (3, 2)
    np.testing.assert_array_equal(layer.bias, [0, 0])
    assert nn.dense_init(jax.random.key(0), 3, 2, use_bias=False).bias is None


def test_a_padded_layer_is_scaled_by_its_true_width():
    def draw(width):
        return nn.dense_init(jax.random.key(0), 8, 2, true_fan_in=width).kernel

    ratio = jax.jit(draw)(2) / draw(8)
    np.testing.assert_allclose(ratio, 2.0, rtol=1e-6)


def test_wrong_calls_say_what_is_wrong():
    layer = nn.dense_init(jax.random.key(0), 3, 2)
    with pytest.raises(ValueError, match="vmap over a batch"):
        nn.dense(layer, jnp.ones((5, 3)))
    with pytest.raises(ValueError, match="fan_out must be"):
        nn.dense_init(jax.random.key(0), 3, 0)
