import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from jaxdl.curvature import (
    add,
    damp,
    from_matrix,
    from_matvec,
    materialize,
    restrict,
    scale,
)

RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(2, 5, 5)).astype(np.float32)
A, B = A + A.T, B + B.T
V = RNG.normal(size=5).astype(np.float32)
LIKE = (V[:2].copy(), {"c": V[2:3].copy(), "d": V[3:].copy()})


def on_tree(matrix, v):
    y = matrix @ jnp.concatenate([v[0], v[1]["c"], v[1]["d"]])
    return (y[:2], {"c": y[2:3], "d": y[3:]})


def check(operator, matrix, v):
    np.testing.assert_allclose(materialize(operator), matrix, rtol=1e-5, atol=1e-6)
    flat = np.asarray(operator.ravel(v))
    np.testing.assert_allclose(
        operator.quadratic_form(v), flat @ matrix @ flat, rtol=1e-4
    )


def test_sum_multiple_and_damping():
    a, b = from_matrix(A), from_matrix(B)
    check(add(a, b, a), 2 * A + B, V)
    check(scale(-0.3, a), -0.3 * A, V)
    check(damp(a, 0.7), A + 0.7 * np.eye(5, dtype=np.float32), V)
    check(damp(scale(2.0, add(a, b)), -1.0), 2 * (A + B) - np.eye(5), V)


def test_damping_may_be_mapped_over():
    found = jax.vmap(lambda c: damp(from_matrix(A), c).matvec(V))(V)
    np.testing.assert_allclose(found, [A @ V + c * V for c in V], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("select", "rows"),
    [
        (lambda tree: tree[0], [0, 1]),
        (lambda tree: tree[1]["d"], [3, 4]),
        (lambda tree: tree[1], [2, 3, 4]),
        (lambda tree: [tree[1]["d"], tree[0]], [3, 4, 0, 1]),
    ],
)
def test_a_restriction_is_a_principal_submatrix(select, rows):
    block = restrict(from_matvec(Partial(on_tree, A), LIKE), select)
    check(block, A[np.ix_(rows, rows)], block.unravel(V[: len(rows)]))


def test_dtypes_are_kept_beside_float64():
    with jax.enable_x64(True):
        operator = damp(scale(2.0, add(from_matrix(A), from_matrix(B))), 0.1)
        assert operator.matvec(V).dtype == np.float32
        assert operator.quadratic_form(V).dtype == np.float32


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: add(), "at least one operator, got none"),
        (lambda: add(from_matrix(A), from_matrix(A[:2, :2])), "the same space, got"),
        (lambda: restrict(from_matrix(A), lambda _: ()), "at least one and each"),
        (lambda: restrict(from_matrix(A), lambda tree: (tree, tree)), "at most once"),
        (lambda: restrict(from_matrix(A), lambda _: 7), "leaves of the tree"),
        (lambda: restrict(from_matrix(A), lambda _: "x"), "leaves of the tree"),
    ],
)
def test_rejects(call, message):
    with pytest.raises(ValueError, match=message):
        call()
