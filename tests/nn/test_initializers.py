import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import nn

SHAPE = (400, 100)


@pytest.mark.parametrize(
    ("initializer", "variance"),
    [
        (nn.he_normal, 2 / 400),
        (nn.he_uniform, 2 / 400),
        (nn.lecun_normal, 1 / 400),
        (nn.lecun_uniform, 1 / 400),
        (nn.xavier_normal, 2 / 500),
        (nn.xavier_uniform, 2 / 500),
        (nn.variance_scaling(3.0, "out", "uniform"), 3 / 100),
    ],
)
def test_variance_is_what_the_name_says(initializer, variance):
    draws = np.asarray(initializer(jax.random.key(1), SHAPE, 400, 100))
    assert draws.dtype == np.float32
    # The variance of 40,000 draws has a relative standard error of at most 0.7 %.
    np.testing.assert_allclose(draws.var(), variance, rtol=0.03)
    assert abs(draws.mean()) < 5 * np.sqrt(variance / draws.size)


def test_glorot_uniform_has_its_published_bound():
    draws = nn.xavier_uniform(jax.random.key(1), SHAPE, 400, 100)
    bound = np.sqrt(6 / 500)
    assert 0.999 * bound < np.abs(draws).max() <= bound * (1 + 1e-6)


def test_the_fan_may_be_traced_and_the_dtype_is_kept():
    draw = jax.jit(lambda fan: nn.he_normal(jax.random.key(0), (4,), fan, 4, "float16"))
    assert draw(8).dtype == jnp.float16
    np.testing.assert_allclose(draw(2), 2 * draw(8), rtol=1e-2)


def test_zeros():
    np.testing.assert_array_equal(nn.zeros(jax.random.key(0), (2, 3), 2, 3), 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1.0, "in", "normal"), "gain"),
        ((1.0, "both", "normal"), "fan"),
        ((1.0, "in", "cauchy"), "distribution"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        nn.variance_scaling(*arguments)
