import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import curvature
from jaxdl.ntk import ntk_operator, ntk_vector_product

RNG = np.random.default_rng(1)
V = RNG.normal(size=(5, 6))
U = RNG.normal(size=(7, 6))
W = np.ones((3, 2), np.float32)
X = np.ones((4, 3), np.float32)


def linear(w, x):
    return x @ w


@pytest.mark.parametrize("chunk_size", [None, 1, 3, 50])
def test_the_sum_over_examples_and_outputs(chunk_size, network, jacobians):
    apply, make = network
    j1, j2 = jacobians
    with jax.enable_x64(True):
        params, x1, x2 = make(np.float64)
        found = ntk_vector_product(apply, params, x1, x2, V, chunk_size=chunk_size)
        found = np.asarray(found)
    theta = np.einsum("iap,jbp->ijab", j1, j2)
    expected = np.einsum("ijab,jb->ia", theta, V)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("chunk_size", [None, 3])
def test_one_set_of_examples(chunk_size, network, jacobians):
    apply, make = network
    j, _ = jacobians
    with jax.enable_x64(True):
        params, x, _ = make(np.float64)
        product = np.asarray(
            ntk_vector_product(apply, params, x, None, U, chunk_size=chunk_size)
        )
        operator = ntk_operator(apply, params, x, chunk_size=chunk_size)
        matrix = np.asarray(curvature.materialize(operator))
        form = float(operator.quadratic_form(U))
    expected = np.einsum("iap,jbp->iajb", j, j).reshape(42, 42)
    np.testing.assert_allclose(product.ravel(), expected @ U.ravel(), rtol=1e-11)
    np.testing.assert_allclose(matrix, expected, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(form, U.ravel() @ expected @ U.ravel(), rtol=1e-11)


def test_it_is_an_operator_of_curvature(network, jacobians):
    apply, make = network
    j, _ = jacobians
    kernel = np.einsum("iap,jbp->iajb", j, j).reshape(42, 42)
    with jax.enable_x64(True):
        params, x, _ = make(np.float64)
        operator = ntk_operator(apply, params, x)
        pairs = curvature.eigenpairs(operator, 3, key=jax.random.key(0))
        values, vectors = np.asarray(pairs.values), np.asarray(pairs.vectors)
        trace = curvature.trace(operator, jax.random.key(1))
        off = abs(float(trace.value) - np.trace(kernel)) / float(trace.standard_error)
        solved = curvature.conjugate_gradient(curvature.damp(operator, 0.5), U)
        solution, done = np.asarray(solved.x), bool(solved.converged)
        assert operator.size == 42
    np.testing.assert_allclose(values, np.linalg.eigvalsh(kernel)[:-4:-1], rtol=1e-9)
    assert vectors.shape == (3, 7, 6)
    assert off < 4
    assert done
    expected = np.linalg.solve(kernel + 0.5 * np.eye(42), U.ravel())
    np.testing.assert_allclose(solution.ravel(), expected, rtol=1e-6, atol=1e-8)


def test_the_block_of_some_parameters_is_their_kernel(network, jacobians):
    apply, make = network
    j, _ = jacobians
    with jax.enable_x64(True):
        params, x, _ = make(np.float64)
        others = {name: leaf for name, leaf in params.items() if name != "embedding"}

        def of_the_embedding(embedding, x):
            return apply({"embedding": embedding, **others}, x)

        operator = ntk_operator(of_the_embedding, params["embedding"], x)
        found = np.asarray(operator.matvec(U))
    j = j[:, :, :45]  # the first leaf
    np.testing.assert_allclose(found, np.einsum("iap,jbp,jb->ia", j, j, U), rtol=1e-11)


def test_one_example_to_a_number_and_vmap_over_parameters():
    def apply(w, x):
        return jnp.sin(jnp.sum(w * x))

    w, v = RNG.normal(size=(3, 3)).astype(np.float32), X[:, :1]

    def product(w):
        return ntk_vector_product(apply, w, X, None, v)

    found = jax.jit(jax.vmap(product))(w)
    np.testing.assert_allclose(found, [product(row) for row in w], rtol=1e-5)


@pytest.mark.parametrize("chunk_size", [None, 3])
def test_outputs_may_be_a_tree(chunk_size):
    def apply(w, x):
        return {"a": x @ w[:, :1], "b": (jnp.sum(w[:, 1] * x),)}

    v = RNG.normal(size=(4, 2)).astype(np.float32)
    expected = ntk_vector_product(linear, W, X, None, v)
    found = ntk_vector_product(apply, W, X, None, v, chunk_size=chunk_size)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_product_is_differentiable_in_the_parameters():
    def apply(w, x):
        return w**2 * x  # the kernel is 4 w^2 x x^T

    def form(w):
        v = jnp.ones((2, 1))
        x = jnp.array([1.0, 2.0])
        return jnp.sum(v * ntk_vector_product(apply, w, x, None, v, chunk_size=1))

    np.testing.assert_allclose(jax.grad(form)(3.0), 8 * 3 * 9, rtol=1e-6)


def test_dtypes_are_those_of_the_outputs(network):
    apply, make = network
    params, x1, x2 = make(np.float32)
    assert ntk_vector_product(apply, params, x1, x2, V).dtype == np.float32
    assert ntk_operator(apply, params, x1).dtype == np.float32


def test_an_operator_crosses_jit_and_is_compiled_once_for_many_parameters():
    traces = []

    def apply(w, x):
        traces.append(None)
        return jnp.tanh(x @ w)

    first = ntk_operator(apply, W, X).matvec(np.ones((4, 2), np.float32))
    count = len(traces)
    again = ntk_operator(apply, 0 * W, X)
    doubled = jax.jit(lambda a: 2 * a.matvec(jnp.ones((4, 2))))(again)
    assert len(traces) == count
    np.testing.assert_allclose(doubled, 2 * 12 * np.ones((4, 2)), rtol=1e-6)
    assert not np.allclose(first, doubled / 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"v": np.ones((3, 2))}, r"v must have shape \(4, 2\), got \(3, 2\)"),
        ({"v": np.ones((4, 3))}, r"v must have shape \(4, 2\), got \(4, 3\)"),
        ({"chunk_size": 0}, "chunk_size must be a positive integer or None, got 0"),
        ({"chunk_size": True}, "chunk_size must be .* got True"),
        ({"chunk_size": 2.0}, r"chunk_size must be .* got 2\.0"),
        ({"params": W.astype(int)}, "params must have leaves of float32 or float64"),
        ({"params": W * 1j}, "params must have leaves of float32 .* complex64"),
        ({"params": {}}, "params must have at least one entry"),
        ({"x1": np.ones((0, 3))}, r"x1 must hold .* at least one.* got lengths \[\(0"),
        ({"x1": (X, X[:2])}, r"x1 must hold .* got lengths \[\(2,\), \(4,\)\]"),
        ({"x1": 3.0}, r"x1 must hold arrays .* got lengths \[\(\)\]"),
        ({"apply": lambda w, x: x[:, 0, None] @ w[:1]}, "apply must map one example"),
        ({"apply": lambda w, x: (x @ w, 1)}, "apply must return arrays of float32"),
        ({"apply": lambda w, x: jnp.argmax(x @ w)}, "apply must return .* int32"),
        ({"apply": lambda w, x: (x @ w)[:0]}, "apply must return at least one"),
        ({"apply": lambda w, x: jnp.log(-(x @ w))}, "apply must be finite and have"),
    ],
)
def test_wrong_arguments(change, message):
    arguments = {"apply": linear, "params": W, "x1": X, "x2": None, "v": X[:, :2]}
    with pytest.raises(ValueError, match=message):
        ntk_vector_product(**(arguments | change))
    del arguments["v"], arguments["x2"]
    arguments["x"] = arguments.pop("x1")
    change = {{"x1": "x"}.get(name, name): value for name, value in change.items()}
    if "v" not in change:
        with pytest.raises(ValueError, match=message.replace("x1", "x")):
            ntk_operator(**(arguments | change))


def test_outputs_of_other_sizes_do_not_fit():
    with pytest.raises(ValueError, match="x1 and x2 must give outputs of the same"):
        ntk_vector_product(
            lambda w, x: x * w, 1.0, np.ones((2, 3)), np.ones((2, 4)), np.ones((2, 4))
        )


def test_gradients_that_are_not_finite():
    def apply(w, x):
        return jnp.sqrt(x @ w - 3)  # 0, with an infinite slope

    with pytest.raises(ValueError, match="apply must be finite and have"):
        ntk_vector_product(apply, W, X, None, X[:, :2])
    operator = ntk_operator(apply, W, X)
    assert not np.isfinite(operator.matvec(X[:, :2])).any()


@pytest.mark.parametrize("n", [0, 3])  # the whole chunk, or the last
def test_chunks_that_are_not_finite(n):
    x = X.copy()
    x[n] = -1
    arguments = [lambda w, x: jnp.log(x @ w), W, X, x, X[:, :2]]
    for _ in range(2):
        with pytest.raises(ValueError, match="apply must be finite and have"):
            ntk_vector_product(*arguments, chunk_size=3)
        arguments[2:4] = x, X


def test_an_error_in_apply_is_its_own():
    def broken(w, x):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        ntk_vector_product(broken, W, X, None, X[:, :2])


def test_nan_in_the_vector_is_kept():
    v = np.full((4, 2), np.nan, np.float32)
    assert np.isnan(ntk_vector_product(linear, W, X, None, v)).all()
