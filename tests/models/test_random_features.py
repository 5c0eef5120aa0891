import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.models import linear, polynomial, random_features

RNG = np.random.default_rng(0)
X = RNG.normal(size=(9, 4)).astype(np.float32)


def test_features_by_hand():
    params = random_features.init(jax.random.key(0), 4, 6, bias_scale=0.5)
    got = jax.vmap(random_features.apply, (None, 0))(params, X)
    np.testing.assert_allclose(
        got,
        np.maximum(X @ np.asarray(params.kernel) + np.asarray(params.bias), 0),
        rtol=1e-4,
        atol=1e-6,
    )


def test_the_scale_of_weights_and_biases():
    params = random_features.init(jax.random.key(0), 40, 2000, bias_scale=0.5)
    np.testing.assert_allclose(np.var(params.kernel), 1 / 40, rtol=0.03)
    # 2,000 draws: a relative standard error of 1.6 % for the deviation.
    np.testing.assert_allclose(np.std(params.bias), 0.5, rtol=0.08)
    assert random_features.init(jax.random.key(0), 4, 6).bias is None


def test_masked_features_give_the_narrow_fit():
    with jax.enable_x64(True):
        features = RNG.normal(size=(9, 7))
        y = RNG.normal(size=(9, 1))

        @jax.jit
        def fit(width):
            masked = random_features.mask(features, width)
            return linear.minimum_norm(linear.decompose(masked, y))

        for width in (3, 7):
            expected = np.linalg.lstsq(features[:, :width], y, rcond=None)[0]
            np.testing.assert_allclose(fit(width)[:width], expected, rtol=1e-9)


def test_powers():
    got = jax.vmap(polynomial.apply, (0, None))(jnp.array([0.0, -2.0]), 3)
    np.testing.assert_array_equal(got, [[1, 0, 0, 0], [1, -2, 4, -8]])


def test_wrong_calls_say_what_is_wrong():
    with pytest.raises(ValueError, match="bias_scale"):
        random_features.init(jax.random.key(0), 4, 6, bias_scale=-1.0)
    with pytest.raises(ValueError, match="degree"):
        polynomial.apply(jnp.array(1.0), -1)
    with pytest.raises(ValueError, match="one number"):
        polynomial.apply(jnp.ones(2), 2)
