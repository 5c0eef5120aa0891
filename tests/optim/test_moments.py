import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.optim.moments import debias, ema, first_moment, second_moment, squared


def test_moments_start_as_said():
    params = {
        "half": jnp.ones((2, 3), jnp.bfloat16),
        "complex": jnp.ones(2, jnp.complex64),
        "weak": 1.0,
        "none": None,
    }
    first, second = first_moment(params), second_moment(params, 0.25)
    assert first["half"].dtype == second["half"].dtype == jnp.bfloat16
    assert first["complex"].dtype == jnp.complex64
    assert second["complex"].dtype == jnp.float32
    assert not first["weak"].weak_type
    assert first["none"] is None
    assert first_moment(params, jnp.float32)["half"].dtype == jnp.float32
    np.testing.assert_array_equal(first["half"], np.zeros((2, 3)))
    np.testing.assert_array_equal(second["complex"], np.full(2, 0.25))


def test_squared_is_real():
    np.testing.assert_allclose(squared(jnp.array([3 + 4j])), [25.0])
    assert squared(jnp.array([3 + 4j])).dtype == jnp.float32
    np.testing.assert_array_equal(squared(jnp.array([-3.0])), [9.0])


@pytest.mark.parametrize("decay", [0.0, 0.9, 0.999])
def test_debias_of_a_constant_is_the_constant(decay):
    with jax.enable_x64(True):
        average = jnp.zeros(())
        for t in range(1, 6):
            average = ema(decay, average, jnp.array(3.0))
            got = float(debias(decay, jnp.int32(t), average))
            np.testing.assert_allclose(got, 3.0, rtol=1e-12)


def test_debias_is_in_float32_or_wider():
    one = jnp.int32(1)
    assert debias(0.999, one, jnp.ones(2, jnp.bfloat16)).dtype == jnp.float32
    assert debias(0.999, one, jnp.ones(2, jnp.complex64)).dtype == jnp.complex64
    with jax.enable_x64(True):
        assert debias(0.999, one, jnp.ones(2, jnp.float32)).dtype == jnp.float32
        assert debias(0.999, one, jnp.ones(2, jnp.float64)).dtype == jnp.float64
