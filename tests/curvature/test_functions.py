import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.curvature import (
    Stopping,
    effective_dimension,
    from_matrix,
    log_determinant,
    materialize,
    matrix_function,
)

KEY = jax.random.key(2)
N = 17
SPECTRUM = np.geomspace(0.1, 50, N)
STOPPING = Stopping(rtol=0.02, at_most=3000)


def test_a_function_of_a_matrix(planted):
    values, vectors = np.linalg.eigh(planted(SPECTRUM))
    with jax.enable_x64(True):
        operator = from_matrix(planted(SPECTRUM))
        found = np.asarray(materialize(matrix_function(operator, jnp.sqrt, N)))
        root = matrix_function(operator, jnp.sqrt, N + 1)
        v = np.cos(np.arange(N))
        form = float(root.quadratic_form(v))
        nothing = np.asarray(matrix_function(operator, jnp.log, N).matvec(0 * v))
    expected = vectors * np.sqrt(values) @ vectors.T
    np.testing.assert_allclose(found, expected, atol=1e-10)
    np.testing.assert_allclose(form, v @ expected @ v, rtol=1e-10)
    assert not nothing.any()


def test_polynomials_are_exact_below_the_depth(planted):
    matrix = planted(SPECTRUM - 5)
    v = np.cos(np.arange(N))
    with jax.enable_x64(True):
        cube = matrix_function(from_matrix(matrix), lambda x: x**3, 4)
        found = np.asarray(cube.matvec(v))
        fifth = matrix_function(from_matrix(matrix), lambda x: x**5, 3)
        form = float(fifth.quadratic_form(v))
    np.testing.assert_allclose(
        found, matrix @ matrix @ matrix @ v, rtol=1e-9, atol=1e-8
    )
    np.testing.assert_allclose(
        form, v @ np.linalg.matrix_power(matrix, 5) @ v, rtol=1e-9
    )


def test_log_determinant_and_effective_dimension(planted):
    matrix = planted(SPECTRUM)
    with jax.enable_x64(True):
        operator = from_matrix(matrix)
        found = log_determinant(
            operator, N, KEY, method="hutch++", stopping=STOPPING, sketch=6
        )
        assert found.converged
        error = abs(found.value - np.linalg.slogdet(matrix)[1])
        assert error < 4 * found.standard_error
        found = effective_dimension(operator, 0.7, N, KEY, stopping=STOPPING)
        assert found.converged
        error = abs(found.value - np.sum(SPECTRUM / (SPECTRUM + 0.7)))
        assert error < 4 * found.standard_error


def test_multiples_of_the_identity_are_exact():
    with jax.enable_x64(True):
        operator = from_matrix(3 * np.eye(N))
        found = log_determinant(operator, N, KEY)
        np.testing.assert_allclose(found.value, N * np.log(3), rtol=1e-12)
        assert (found.probes, bool(found.converged)) == (30, True)
        found = effective_dimension(operator, 1.0, N, KEY)
        np.testing.assert_allclose(found.value, N * 0.75, rtol=1e-12)


def test_a_negative_eigenvalue_gives_nan(planted):
    with jax.enable_x64(True):
        found = log_determinant(from_matrix(planted(SPECTRUM - 5)), N, KEY)
        assert np.isnan(found.value)
        assert not found.converged


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_vector_that_is_not_finite_gives_nan(bad):
    with jax.enable_x64(True):
        operator = matrix_function(from_matrix(np.diag(SPECTRUM)), jnp.exp, 3)
        vector = jnp.ones(N).at[1].set(bad)
        assert np.isnan(operator.matvec(vector)).all()
        assert np.isnan(operator.quadratic_form(vector))
        assert not operator.matvec(0 * jnp.ones(N)).any()


def test_damping_is_mapped_over_and_float32_stays():
    operator = from_matrix(np.diag(SPECTRUM).astype(np.float32))
    with jax.enable_x64(True):
        dampings = jnp.array([0.1, 1.0], np.float32)
        stopping = Stopping(0.1)

        def dimension(damping):
            found = effective_dimension(operator, damping, 9, KEY, stopping=stopping)
            return found.value

        found = jax.vmap(dimension)(dampings)
        assert found.dtype == np.float32
        expected = [dimension(damping) for damping in dampings]
        np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a: matrix_function(a, jnp.exp, 0), "depth must be a positive integer"),
        (lambda a: log_determinant(a, 1.5, KEY), "depth must be a positive integer"),
        (lambda a: effective_dimension(a, 0.0, 3, KEY), "damping must be > 0, got 0"),
        (lambda a: log_determinant(a, 2, KEY, method="x"), "method must be"),
    ],
)
def test_rejects(call, message):
    with pytest.raises(ValueError, match=message):
        call(from_matrix(np.eye(3, dtype=np.float32)))
