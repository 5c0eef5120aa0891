import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from jaxdl import nn

X = np.array([-800.0, -2.0, -0.3, 0.0, 0.7, 3.0, 800.0])
REFERENCE = {
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "softplus": lambda x: np.logaddexp(x, 0),
    "tanh": np.tanh,
    "sigmoid": special.expit,
    "erf": special.erf,
    "sine": np.sin,
    "threshold": lambda x: (x > 0).astype(float),
    "identity": lambda x: x,
    # The tanh approximation of the Gaussian error linear unit.
    "gelu": lambda x: (
        0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    ),
}


@pytest.mark.parametrize("name", nn.ACTIVATIONS)
def test_values_and_finite_derivatives(name):
    function = nn.activation(name)
    with jax.enable_x64(True):
        x = jnp.asarray(X)
        np.testing.assert_allclose(
            function(x), REFERENCE[name](X), rtol=1e-12, atol=1e-15
        )
        assert np.isfinite(jax.vmap(jax.grad(function))(x)).all()


def test_known_derivatives():
    x = jnp.linspace(-3, 3, 7)
    np.testing.assert_allclose(
        jax.vmap(jax.grad(nn.activation("softplus")))(x), jax.nn.sigmoid(x), rtol=1e-6
    )
    assert jax.grad(nn.activation("relu"))(0.0) == 0.0
    assert jax.grad(nn.activation("sigmoid"))(0.0) == 0.25
    assert jax.grad(nn.activation("tanh"))(0.0) == 1.0


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'relu'.*got 'rleu'"):
        nn.activation("rleu")
