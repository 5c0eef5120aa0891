import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from jaxdl.curvature import from_matrix, from_matvec, materialize

RNG = np.random.default_rng(0)
A = RNG.normal(size=(5, 5))
A = (A + A.T).astype(np.float32)
TREE = {"w": np.ones((2, 2), np.float32), "b": np.ones(1, np.float32)}


def on_tree(matrix, v):
    flat = matrix @ jnp.concatenate([v["b"], v["w"].ravel()])
    return {"b": flat[:1], "w": flat[1:].reshape(2, 2)}


def test_a_matrix_multiplies_as_it_should():
    operator = from_matrix(A)
    v = RNG.normal(size=5).astype(np.float32)
    np.testing.assert_allclose(operator.matvec(v), A @ v, rtol=1e-5)
    np.testing.assert_allclose(operator.flat_matvec(v), A @ v, rtol=1e-5)
    np.testing.assert_allclose(operator.quadratic_form(v), v @ A @ v, rtol=1e-5)
    np.testing.assert_allclose(materialize(operator), A, rtol=1e-6)
    assert operator.size == 5
    assert operator.dtype == np.float32


def test_an_operator_on_a_tree_has_a_flat_view():
    operator = from_matvec(Partial(on_tree, A), TREE)
    assert operator.size == 5
    np.testing.assert_allclose(materialize(operator), A, rtol=1e-6)
    flat = RNG.normal(size=5).astype(np.float32)
    tree = operator.unravel(flat)
    assert jax.tree.structure(tree) == jax.tree.structure(TREE)
    np.testing.assert_array_equal(operator.ravel(tree), flat)
    np.testing.assert_allclose(operator.matvec(tree)["b"], (A @ flat)[:1], rtol=1e-5)


def test_mixed_dtypes_keep_theirs():
    with jax.enable_x64(True):
        like = {"a": np.ones(2, np.float32), "b": np.ones(2)}
        operator = from_matvec(lambda v: v, like)
        assert operator.dtype == np.float64
        back = operator.unravel(operator.ravel(like))
        assert {k: v.dtype for k, v in back.items()} == {"a": "float32", "b": "float64"}


def test_float32_stays_float32_beside_float64():
    with jax.enable_x64(True):
        operator = from_matrix(A)
        assert operator.dtype == np.float32
        assert operator.matvec(A[0]).dtype == np.float32
        assert operator.quadratic_form(A[0]).dtype == np.float32


def test_crosses_jit_and_vmap_and_is_compiled_once():
    traces = []

    @jax.jit
    def apply(operator, v):
        traces.append(1)
        return operator.matvec(v)

    v = A[0]
    for scale in (1.0, 2.0):
        operator = from_matvec(Partial(on_tree, scale * A), TREE)
        tree = operator.unravel(v)
        np.testing.assert_allclose(
            operator.ravel(apply(operator, tree)), scale * A @ v, rtol=1e-5
        )
    assert len(traces) == 1
    stack = jnp.stack([A, 2 * A, -A])
    got = jax.vmap(lambda a: from_matrix(a).matvec(v))(stack)
    np.testing.assert_allclose(got, [m @ v for m in stack], rtol=1e-5)
    operators = jax.vmap(from_matrix)(stack)
    got = jax.vmap(lambda operator: operator.matvec(v))(operators)
    np.testing.assert_allclose(got, [m @ v for m in stack], rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: from_matrix(A[:2]), "matrix must be square, got shape"),
        (lambda: from_matrix(np.eye(2, dtype=int)), "matrix must have leaves of float"),
        (lambda: from_matrix(np.zeros((0, 0), np.float32)), "at least one entry"),
        (
            lambda: from_matvec(lambda v: v, {"a": jnp.arange(3)}),
            "like must have leaves",
        ),
        (lambda: from_matvec(lambda v: v, {}), "like must have at least one entry"),
        (lambda: from_matrix(A).matvec(A[0, :2]), "vector must be a .* got"),
        (lambda: from_matrix(A).matvec({"a": A[0]}), "vector must be a .* got"),
        (lambda: from_matrix(A).quadratic_form(jnp.arange(5)), "vector must be a"),
        (
            lambda: from_matrix(A).unravel(A[0, :2]),
            r"must have shape \(5,\), got \(2,\)",
        ),
        (lambda: from_matvec(lambda v: v, jnp.ones(2, jnp.bfloat16)), "bfloat16"),
    ],
)
def test_rejects(call, message):
    with pytest.raises(ValueError, match=message):
        call()
