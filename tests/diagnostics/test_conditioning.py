import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.curvature import from_matrix, hvp
from jaxdl.data import standardize, standardize_fit
from jaxdl.diagnostics import data_conditioning, operator_conditioning

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)


def test_by_hand():
    found = data_conditioning(np.array([[3.0, 0.0], [0.0, 1.0], [0.0, 0.0]]))
    np.testing.assert_allclose(found.condition_number, 9)
    np.testing.assert_allclose(found.eigenvalues, [3, 1 / 3])
    assert found.rank == 2


def test_is_that_of_the_least_squares_hessian():
    x = RNG.normal(size=(20, 3)) * [5.0, 1.0, 0.2] + [1.0, 0.0, 3.0]

    def loss(params, batch):
        return jnp.mean((batch @ params["w"] + params["b"]) ** 2) / 2

    with jax.enable_x64(True):
        params = {"w": np.zeros(3), "b": np.zeros(())}
        operator = hvp(loss, params, x)
        want = operator_conditioning(operator, KEY)
        large = operator_conditioning(operator, KEY, dense_up_to=3)
    found = data_conditioning(x, bias=True)
    np.testing.assert_allclose(found.condition_number, want.value, rtol=1e-8)
    np.testing.assert_allclose(found.eigenvalues[0], want.largest, rtol=1e-10)
    np.testing.assert_allclose(large.value, want.value, rtol=1e-3)
    assert want.converged
    assert large.converged


def test_standardizing_helps():
    """Weights of about 114.8 and 0.00323: kappa of scale, and of a mean."""
    x = RNG.normal(size=(200, 2)) * [114.8, 0.00323]
    raw = data_conditioning(x)
    assert raw.condition_number > 1e8
    y = standardize(standardize_fit(x), x)
    assert data_conditioning(y).condition_number < 2
    shifted = y + 50.0
    assert data_conditioning(shifted, bias=True).condition_number > 1e3
    centred = data_conditioning(shifted, centre=True, bias=True)
    assert centred.condition_number < 2


def test_gradient_descent_takes_half_kappa_steps_a_factor_e():
    x = np.diag([10.0, 1.0]) * np.sqrt(2)
    found = data_conditioning(x)
    hessian = x.T @ x / len(x)
    rate = 2 / (found.eigenvalues[0] + found.eigenvalues[-1])
    w, steps = np.ones(2), 0
    while np.linalg.norm(w) > np.sqrt(2) / np.e:
        w, steps = w - rate * hessian @ w, steps + 1
    np.testing.assert_allclose(steps, found.condition_number / 2, rtol=0.05)


def test_deficient_rank_is_infinite_and_has_a_range():
    x = RNG.normal(size=(10, 2)) @ np.array([[1.0, 0.0, 2.0], [0.0, 1.0, 1.0]])
    found = data_conditioning(x)
    assert found.rank == 2
    assert found.condition_number == np.inf
    values = np.linalg.eigvalsh(x.T @ x / 10)[1:]
    np.testing.assert_allclose(found.on_its_range, values[1] / values[0])
    wide = data_conditioning(RNG.normal(size=(2, 5)))
    assert (wide.rank, wide.condition_number) == (2, np.inf)
    assert wide.eigenvalues.shape == (5,)
    nothing = data_conditioning(np.zeros((3, 2)))
    assert nothing.rank == 0
    assert np.isnan(nothing.on_its_range)


def test_images_are_flattened_and_nan_is_reported():
    x = RNG.normal(size=(9, 2, 2)).astype(np.float32)
    want = data_conditioning(x.reshape(9, 4))
    assert data_conditioning(x).condition_number == want.condition_number
    x[0, 0, 0] = np.nan
    assert np.isnan(data_conditioning(x).condition_number)


@pytest.mark.parametrize("dense_up_to", [0, 100])
def test_operators_of_known_spectrum(dense_up_to):
    with jax.enable_x64(True):
        for diagonal, value in (([4.0, -0.5, 1.0], 8.0), ([1.0, 0.0, 2.0], np.inf)):
            operator = from_matrix(np.diag(diagonal))
            found = operator_conditioning(operator, KEY, dense_up_to=dense_up_to)
            np.testing.assert_allclose(found.value, value, rtol=1e-3)
            assert found.converged
        broken = from_matrix(np.full((3, 3), np.nan))
        found = operator_conditioning(broken, KEY, dense_up_to=dense_up_to)
        assert np.isnan(found.value)
        assert not found.converged


def test_what_float32_products_cannot_tell_is_not_called_converged():
    values = np.array([1.0, 1e-5], np.float32)
    found = operator_conditioning(from_matrix(np.diag(values)), KEY)
    np.testing.assert_allclose(found.value, 1e5, rtol=1e-2)
    assert found.relative_error > 1e-3
    assert not found.converged


def test_rejects():
    for x in (np.ones(3), np.ones((0, 2)), np.ones((2, 0))):
        with pytest.raises(ValueError, match=r"x must be \(n, ...\)"):
            data_conditioning(x)
    with pytest.raises(ValueError, match="x must be real, got dtype complex"):
        data_conditioning(np.ones((2, 2), complex))
    with pytest.raises(ValueError, match="tol must be > 0"):
        operator_conditioning(from_matrix(jnp.eye(2)), KEY, tol=0.0)
