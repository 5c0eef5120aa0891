import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from jaxdl.curvature import (
    Stopping,
    diagonal,
    frobenius_norm,
    from_matrix,
    from_matvec,
    trace,
)

KEY = jax.random.key(1)
N = 33
SPECTRUM = np.r_[np.linspace(-1, 2, N - 3), 30.0, -20.0, 25.0]
METHODS = ["hutchinson", "hutch++", "krylov"]
QUANTITIES = {
    trace: lambda matrix: np.trace(matrix),
    frobenius_norm: lambda matrix: np.linalg.norm(matrix),
    diagonal: lambda matrix: np.diag(matrix),
}


def estimate(quantity, matrix, key=KEY, **options):
    with jax.enable_x64(True):
        found = quantity(from_matrix(matrix), key, **options)
        return jax.tree.map(np.asarray, found)


@pytest.mark.parametrize("quantity", QUANTITIES)
@pytest.mark.parametrize("method", METHODS)
def test_unbiased_with_the_error_it_states(quantity, method, planted):
    matrix = planted(SPECTRUM)
    exact = QUANTITIES[quantity](matrix)
    fixed = Stopping(rtol=0.0, at_most=40)
    runs = [
        estimate(quantity, matrix, key=key, method=method, stopping=fixed, sketch=4)
        for key in jax.random.split(KEY, 150)
    ]
    values, errors, probes, _ = (np.stack(x) for x in zip(*runs, strict=True))
    assert (probes == 40).all()
    spread = values.std(0, ddof=1)
    bias = spread**2 / exact if quantity is frobenius_norm else 0  # of a square root
    assert (abs(values.mean(0) - exact) < 4.5 * spread / 150**0.5 + bias).all()
    stated = np.sqrt(np.mean(np.sum(np.square(np.atleast_2d(errors.T)), axis=0)))
    assert 0.75 < stated / np.linalg.norm(spread) < 1.3


@pytest.mark.parametrize("quantity", QUANTITIES)
@pytest.mark.parametrize("method", METHODS)
def test_stops_by_its_rule(quantity, method, planted):
    matrix = planted(SPECTRUM)
    norm = np.linalg.norm
    for stopping in (
        Stopping(0.1, at_most=9000),
        Stopping(0.0, 3.0),
        Stopping(0.1, at_least=50, at_most=9000),
    ):
        found = estimate(quantity, matrix, method=method, stopping=stopping, sketch=4)
        assert found.converged
        assert stopping.at_least <= found.probes <= stopping.at_most
        bound = max(stopping.rtol * norm(found.value), stopping.atol)
        assert norm(found.standard_error) <= bound
        error = norm(found.value - QUANTITIES[quantity](matrix))
        assert error <= 4 * norm(found.standard_error)
    found = estimate(
        quantity, matrix, method=method, stopping=Stopping(1e-9, at_most=35), sketch=4
    )
    assert not found.converged
    assert found.probes == 35


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_the_error_is_as_stated_where_the_rule_stopped(method, planted):
    """A rule that looks at its own error stops early on those that look small.

    And with 30 probes the error is itself estimated from few.
    """
    rng = np.random.default_rng(0)
    spectrum = np.concatenate([np.linspace(10, 2, 9), rng.exponential(0.05, 391)])
    operator = from_matrix(planted(spectrum).astype(np.float32))
    stopping = Stopping(0.03, at_most=3000)

    def one(key):
        return trace(operator, key, method=method, stopping=stopping)

    found = jax.jit(jax.vmap(one))(jax.random.split(KEY, 1000))
    assert found.converged.all()
    ratios = (np.asarray(found.value) - spectrum.sum()) / found.standard_error
    assert 0.9 < np.sqrt(np.mean(ratios**2)) < 1.3
    assert np.mean(np.abs(ratios) > 3) < 0.03


def test_signs_are_exact_on_a_diagonal_matrix():
    matrix = np.diag(SPECTRUM)
    for quantity in (trace, frobenius_norm, diagonal):
        found = estimate(quantity, matrix)
        np.testing.assert_allclose(
            found.value, QUANTITIES[quantity](matrix), rtol=1e-12
        )
        np.testing.assert_allclose(found.standard_error, 0, atol=1e-12)
        assert found.converged
        assert found.probes == 30


@pytest.mark.parametrize("quantity", QUANTITIES)
@pytest.mark.parametrize("method", METHODS[1:])
def test_a_sketch_is_exact_on_low_rank(quantity, method, planted):
    matrix = planted(np.r_[5.0, -3.0, 2.0, np.zeros(N - 3)])
    found = estimate(quantity, matrix, method=method, sketch=4)
    np.testing.assert_allclose(found.value, QUANTITIES[quantity](matrix), atol=1e-10)
    assert found.probes == 30
    plain = estimate(quantity, matrix)
    assert np.linalg.norm(plain.standard_error) > 0.01


def test_a_sketch_has_the_smaller_error_with_outliers(planted):
    matrix = planted(SPECTRUM)
    fixed = Stopping(0.0, at_most=40)
    for quantity in QUANTITIES:
        plain, *sketched = (
            estimate(quantity, matrix, method=method, stopping=fixed, sketch=sketch)
            for method, sketch in zip(METHODS, (1, 4, 8), strict=True)  # by products
        )
        norm = np.linalg.norm
        for found in sketched:
            assert norm(found.standard_error) < 0.5 * norm(plain.standard_error)


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_a_krylov_sketch_that_closes_goes_on_from_a_fresh_vector(quantity, planted):
    matrix = planted(np.r_[[5.0] * 3, np.zeros(N - 3)])  # two dimensions a start
    found = estimate(quantity, matrix, method="krylov", sketch=6)
    np.testing.assert_allclose(found.value, QUANTITIES[quantity](matrix), atol=1e-10)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("quantity", QUANTITIES)
def test_zero_and_nan(quantity, method):
    found = estimate(quantity, np.zeros((N, N)), method=method, sketch=4)
    assert not np.any(found.value)
    assert not np.any(found.standard_error)
    assert found.converged
    found = estimate(quantity, np.full((N, N), np.nan), method=method, sketch=4)
    assert np.isnan(found.value).all()
    assert not found.converged
    assert found.probes <= 1


def test_a_sketch_larger_than_the_space_is_exact():
    matrix = np.array([[2.0, 1.0], [1.0, -3.0]])
    for method in METHODS[1:]:
        found = estimate(trace, matrix, method=method, sketch=10)
        np.testing.assert_allclose(found.value, -1, atol=1e-12)


def test_the_diagonal_is_a_tree_and_float32_stays():
    weights = {"a": np.arange(6.0).reshape(2, 3), "b": np.ones(1)}
    weights = jax.tree.map(np.float32, weights)
    with jax.enable_x64(True):
        operator = from_matvec(
            Partial(lambda w, v: jax.tree.map(jnp.multiply, w, v), weights), weights
        )
        for method in METHODS:
            found = diagonal(operator, KEY, method=method)
            for name, value in weights.items():
                error = abs(found.value[name] - value)
                assert (error <= 4 * found.standard_error[name] + 1e-5).all()
            for leaf in jax.tree.leaves((found.value, found.standard_error)):
                assert leaf.dtype == np.float32
            assert found.probes.dtype == np.int32
        for quantity in (trace, frobenius_norm):
            assert quantity(operator, KEY).value.dtype == np.float32


def test_vmap_equals_a_loop(planted):
    matrices = np.stack([planted(SPECTRUM), planted(SPECTRUM, 1)])

    def value(matrix):
        stopping = Stopping(0.2)
        return trace(from_matrix(matrix), KEY, stopping=stopping)[:3]

    with jax.enable_x64(True):
        found = jax.vmap(value)(matrices)
        for row, matrix in enumerate(matrices):
            for a, b in zip(found, value(matrix), strict=True):
                np.testing.assert_allclose(a[row], b, rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "hutch"}, "method must be 'hutchinson', .*, got 'hutch'"),
        ({"sketch": 0}, "sketch must be a positive integer, got 0"),
        ({"stopping": Stopping(rtol=-1.0)}, r"stopping.rtol must be >= 0, got -1"),
        ({"stopping": Stopping(atol=-1.0)}, r"stopping.atol must be >= 0, got -1"),
        (
            {"stopping": Stopping(at_least=29)},
            r"stopping.at_least must be >= 30, got 29",
        ),
        ({"stopping": Stopping(at_most=1)}, r"stopping.at_most must be >= 2, got 1"),
    ],
)
@pytest.mark.parametrize("quantity", QUANTITIES)
def test_rejects(quantity, options, message):
    with pytest.raises(ValueError, match=message):
        quantity(from_matrix(np.eye(3, dtype=np.float32)), KEY, **options)
