import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.curvature import from_matrix, hessian, inertia

KEY = jax.random.key(0)
N = 27
SPECTRUM = np.r_[np.linspace(-3, -1, 5), np.zeros(9), np.linspace(0.5, 2, N - 14)]


def counts(found):
    return tuple(int(x) for x in found[:3])


def test_planted_counts(planted):
    with jax.enable_x64(True):
        found = inertia(planted(SPECTRUM))
        assert counts(found) == (5, 9, 13)
        np.testing.assert_allclose(found.threshold, N * 2.0**-52 * 3, rtol=1e-9)
        assert counts(inertia(planted(SPECTRUM), threshold=1.01)) == (4, 15, 8)
        assert counts(inertia(np.zeros((N, N)))) == (0, N, 0)
        assert counts(inertia(np.full((N, N), np.nan))) == (0, 0, 0)


@pytest.mark.parametrize(("name", "expected"), [("mse", 26), ("ce", 23)])
def test_golden_network(name, expected, golden, losses, batches):
    with jax.enable_x64(True):
        matrix = hessian(losses[name], golden["theta"], batches[name])
        negative, zero, positive = counts(inertia(matrix, threshold=1e-10))
    assert negative == expected
    assert zero == (5 if name == "ce" else 0)  # m + 1 null directions of softmax
    assert negative + zero + positive == 54


def test_bounds_hold_and_are_met_at_full_depth(planted):
    with jax.enable_x64(True):
        operator = from_matrix(planted(SPECTRUM))
        found = inertia(operator, depth=5, key=KEY, threshold=1e-9)
        assert all(a <= b for a, b in zip(counts(found), (5, 9, 13), strict=True))
        assert sum(counts(found)) > 1
        assert counts(inertia(operator, depth=N, key=KEY, threshold=1e-9)) == (5, 9, 13)
        found = inertia(from_matrix(np.zeros((N, N))), depth=5, key=KEY)
        assert counts(found) == (0, 5, 0)


def test_a_ritz_value_of_zero_need_not_be_an_eigenvalue(planted):
    arm = np.linspace(1, 2, 13)
    with jax.enable_x64(True):
        operator = from_matrix(planted(np.r_[-arm, arm, 2]))
        found = inertia(operator, depth=5, key=KEY, threshold=0.9)
        # one of five Ritz values is in the gap, and no eigenvalue
        assert counts(found) == (2, 0, 2)


def test_vmap_equals_a_loop_and_float32_stays(planted):
    matrices = np.stack([planted(SPECTRUM), -planted(SPECTRUM)]).astype(np.float32)
    with jax.enable_x64(True):
        found = jax.vmap(inertia)(jnp.asarray(matrices))
        assert found.threshold.dtype == np.float32
        assert found.zero.dtype == np.int32
        for row, matrix in enumerate(matrices):
            assert counts([x[row] for x in found]) == counts(inertia(matrix))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"matrix": np.eye(3)[:2]}, r"matrix must be square, got shape \(2, 3\)"),
        ({"key": KEY}, "for operators, got a matrix"),
        ({"threshold": -1.0}, "threshold must be >= 0, got -1"),
        ({"matrix": from_matrix(jnp.eye(3)), "depth": 2}, "takes depth and key"),
        ({"matrix": from_matrix(jnp.eye(3)), "key": KEY}, "takes depth and key"),
        (
            {"matrix": from_matrix(jnp.eye(3)), "key": KEY, "depth": 4},
            r"in 1\.\.3, got 4",
        ),
    ],
)
def test_rejects(options, message):
    with pytest.raises(ValueError, match=message):
        inertia(**{"matrix": np.eye(3)} | options)
