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


@pytest.mark.parametrize("shape", [(5, 5), (7, 3), (3, 7)])
def test_orthogonal_weights_have_equal_singular_values(shape):
    draws = nn.orthogonal(1.5)(jax.random.key(1), shape, *shape)
    assert draws.dtype == np.float32
    np.testing.assert_allclose(
        np.linalg.svd(draws, compute_uv=False), 1.5, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("fan", [3, np.float32(3)])
def test_orthogonal_weights_favour_no_direction(fan):
    """Haar: entries have mean 0, variance 1/n, fourth moment 3 / (n (n + 2))."""
    keys = jax.random.split(jax.random.key(0), 4000)
    draw = nn.orthogonal()
    draws = np.asarray(jax.jit(jax.vmap(lambda key: draw(key, (3, 3), fan, fan)))(keys))
    np.testing.assert_allclose(draws.mean(0), 0, atol=4 * np.sqrt(1 / 3 / 4000))
    np.testing.assert_allclose((draws**2).mean(0), 1 / 3, atol=4 * 0.3 / 63)
    np.testing.assert_allclose((draws**4).mean(0), 1 / 5, atol=4 * 0.27 / 63)
    np.testing.assert_allclose(np.linalg.det(draws).mean(), 0, atol=4 / 63)


@pytest.mark.parametrize("fans", [(5, 3), (3, 5), (4, 4)])
def test_a_padded_orthogonal_layer_is_orthogonal_at_its_true_size(fans):
    draw = jax.jit(lambda *f: nn.orthogonal()(jax.random.key(0), (6, 7), *f))
    draws = np.array(draw(*fans))
    inside = draws[: fans[0], : fans[1]]
    np.testing.assert_allclose(np.linalg.svd(inside, compute_uv=False), 1, rtol=1e-5)
    draws[: fans[0], : fans[1]] = 0
    np.testing.assert_allclose(draws, 0, atol=1e-6)


def test_orthogonal_keeps_the_dtype():
    assert (
        nn.orthogonal()(jax.random.key(0), (3, 3), 3, 3, "float16").dtype == "float16"
    )
    with jax.enable_x64(True):
        draws = nn.orthogonal()(jax.random.key(0), (9, 9), 9, 9)
        assert draws.dtype == np.float64
        np.testing.assert_allclose(draws.T @ draws, np.eye(9), atol=1e-13)


def test_scaled_identity():
    draws = nn.scaled_identity(0.5)(jax.random.key(0), (3, 2), 3, 2, "float16")
    assert draws.dtype == "float16"
    np.testing.assert_array_equal(draws, [[0.5, 0], [0, 0.5], [0, 0]])


@pytest.mark.parametrize("make", [nn.orthogonal, nn.scaled_identity])
def test_matrices_only(make):
    with pytest.raises(ValueError, match=r"must be a matrix, got shape \(2, 3, 4\)"):
        make()(jax.random.key(0), (2, 3, 4), 6, 4)


def test_a_negative_scale_is_named():
    with pytest.raises(ValueError, match="scale must be >= 0, got -1"):
        nn.orthogonal(-1.0)


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
