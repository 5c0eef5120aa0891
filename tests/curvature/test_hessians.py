import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.curvature import from_matvec, hessian, hvp, materialize

RNG = np.random.default_rng(0)
X = RNG.normal(size=(10, 3)).astype(np.float32)
Y = RNG.normal(size=10).astype(np.float32)
PARAMS = {
    "w": RNG.normal(size=(3, 2)).astype(np.float32),
    "b": None,
    "v": RNG.normal(size=2).astype(np.float32),
}


def loss(params, batch):
    x, y = batch
    hidden = jnp.tanh(x @ params["w"])
    penalty = jnp.sum(params["v"] ** 4)
    return jnp.mean((hidden @ params["v"] - y) ** 2) + 0.1 * penalty


@pytest.mark.parametrize("name", ["mse", "ce"])
def test_golden_network(name, golden, losses, batches):
    with jax.enable_x64(True):
        theta, batch = golden["theta"], batches[name]
        matrix = np.asarray(hessian(losses[name], theta, batch))
        operator = hvp(losses[name], theta, batch)
        product = np.asarray(operator.matvec(golden["v"]))
        form = np.asarray(operator.quadratic_form(golden["v"]))
    np.testing.assert_allclose(matrix, golden[f"{name}_hess"], atol=1e-9)
    np.testing.assert_allclose(product, golden[f"{name}_hvp"], atol=1e-9)
    expected = golden["v"] @ golden[f"{name}_hvp"]
    np.testing.assert_allclose(form, expected, atol=1e-9)
    np.testing.assert_allclose(
        np.linalg.eigvalsh(matrix), golden[f"{name}_eigs"], atol=1e-9
    )


def test_is_the_jacobian_of_the_gradient_on_any_tree():
    operator = hvp(loss, PARAMS, (X, Y))
    v = jax.tree.map(lambda leaf: np.cos(leaf), PARAMS)
    gradient = jax.grad(lambda params: loss(params, (X, Y)))
    expected = jax.jit(lambda v: jax.jvp(gradient, (PARAMS,), (v,))[1])(v)
    found = operator.matvec(v)
    assert jax.tree.structure(found) == jax.tree.structure(PARAMS)
    for key in ("w", "v"):
        np.testing.assert_allclose(found[key], expected[key], rtol=1e-4, atol=1e-5)
    flat = operator.ravel(v)
    np.testing.assert_allclose(
        operator.quadratic_form(v), flat @ operator.ravel(expected), rtol=1e-4
    )


@pytest.mark.parametrize("chunk_size", [1, 3, 5, 10, 11])
def test_chunks_count_by_their_length(chunk_size):
    whole = hvp(loss, PARAMS, (X, Y))
    parts = hvp(loss, PARAMS, (X, Y), chunk_size=chunk_size)
    v = jax.tree.map(lambda leaf: np.cos(leaf), PARAMS)
    np.testing.assert_allclose(
        parts.ravel(parts.matvec(v)), whole.ravel(whole.matvec(v)), rtol=2e-4, atol=1e-5
    )
    np.testing.assert_allclose(
        parts.quadratic_form(v), whole.quadratic_form(v), rtol=1e-4
    )


def test_the_gradient_is_linearized_once_and_programs_are_reused():
    traces = []

    def counted(params, batch):
        traces.append(1)
        return jnp.mean((batch @ jnp.sin(params)) ** 2)

    first = hvp(counted, X[0], X)
    once = len(traces)
    for shift in (0.0, 1.0, 2.0):
        operator = hvp(counted, X[0] + np.float32(shift), X)
        for _ in range(3):
            operator.matvec(X[1])
    assert len(traces) == once
    assert jax.tree.structure(first) == jax.tree.structure(operator)


def test_vmap_over_parameters_equals_a_loop():
    def product(w):
        return hvp(loss, {"w": w, "b": None, "v": PARAMS["v"]}, (X, Y)).matvec(PARAMS)

    stack = jnp.stack([PARAMS["w"], 2 * PARAMS["w"]])
    found = jax.jit(jax.vmap(product))(stack)
    for row, w in enumerate(stack):
        np.testing.assert_allclose(
            found["w"][row], product(w)["w"], rtol=2e-4, atol=1e-5
        )


def test_float32_stays_float32_beside_float64():
    with jax.enable_x64(True):
        for chunk_size in (None, 4):
            operator = hvp(loss, PARAMS, (X, Y), chunk_size=chunk_size)
            product = operator.matvec(PARAMS)
            assert {leaf.dtype.name for leaf in jax.tree.leaves(product)} == {"float32"}
            assert operator.quadratic_form(PARAMS).dtype == np.float32
            program = jax.jit(operator.matvec).lower(PARAMS).as_text()
            assert "xf64" not in program


def test_a_loss_with_nan_gives_nan():
    operator = hvp(lambda w, batch: jnp.sum(batch * w**2) * jnp.nan, X[0], X[1])
    assert np.isnan(operator.matvec(X[2])).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: hvp(lambda w, _: w, X[0], X),
            r"must return \(\), got shape \(3,\)",
        ),
        (
            lambda: hvp(loss, {"w": jnp.arange(3)}, X),
            "params must have leaves of float",
        ),
        (lambda: hvp(loss, (), X), "params must have at least one entry"),
        (
            lambda: hvp(loss, PARAMS, (X, Y), chunk_size=0),
            "chunk_size must be a positive",
        ),
        (lambda: hvp(loss, PARAMS, (X, Y), chunk_size=2.0), "chunk_size must be a pos"),
        (
            lambda: hvp(loss, PARAMS, (X, Y[:4]), chunk_size=2),
            "same number of examples",
        ),
        (
            lambda: hessian(loss, PARAMS, (X, Y[0]), chunk_size=2),
            "along their first axis",
        ),
    ],
)
def test_rejects(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_dense_matrix_is_that_of_the_operator():
    matrix = hessian(loss, PARAMS, (X, Y))
    operator = hvp(loss, PARAMS, (X, Y))
    np.testing.assert_allclose(matrix, materialize(operator), rtol=1e-6)
    again = from_matvec(operator.matvec, PARAMS)
    np.testing.assert_allclose(matrix, materialize(again), rtol=1e-6)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-5)
