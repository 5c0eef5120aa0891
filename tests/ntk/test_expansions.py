import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.ntk import linearize, ntk_vector_product, scaled_output, taylor_expand

RNG = np.random.default_rng(3)
X = RNG.normal(size=(5, 4))
START = {"w": RNG.normal(size=(4, 6)), "v": RNG.normal(size=(6, 2))}
STEP = {"w": RNG.normal(size=(4, 6)), "v": RNG.normal(size=(6, 2))}


def network(params, x):
    return jnp.tanh(x @ params["w"]) @ params["v"]


def cubic(params, x):
    """Degree 2 in w and 1 in v."""
    return jnp.square(x @ params["w"]) @ params["v"]


def moved(t):
    return jax.tree.map(lambda a, d: a + t * d, START, STEP)


@pytest.mark.parametrize("batched", [False, True])
def test_to_first_order_with_the_jacobian(batched):
    x = X if batched else X[0]
    with jax.enable_x64(True):
        found = np.asarray(linearize(network, START)(moved(0.7), x))
        value, jacobian = network(START, x), jax.jacfwd(network)(START, x)
        change = [
            np.tensordot(jacobian[name], 0.7 * STEP[name], 2) for name in ("w", "v")
        ]
        expected = np.asarray(value) + change[0] + change[1]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("degree", [0, 1, 2, 3, 4])
def test_a_polynomial_is_exact_from_its_degree_on(degree):
    with jax.enable_x64(True):
        found = np.asarray(taylor_expand(cubic, START, degree)(moved(0.9), X))
        exact = np.asarray(cubic(moved(0.9), X))
        # The terms by hand: (a + b)^2 (v + u) sorted by the number of changes.
        a, b = X @ START["w"], 0.9 * X @ STEP["w"]
        v, u = START["v"], 0.9 * STEP["v"]
    terms = [a**2 @ v, 2 * a * b @ v + a**2 @ u, b**2 @ v + 2 * a * b @ u, b**2 @ u]
    np.testing.assert_allclose(found, sum(terms[: degree + 1]), rtol=1e-11)
    assert np.allclose(found, exact, rtol=1e-11) == (degree >= 3)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_the_error_is_of_the_next_order(degree):
    with jax.enable_x64(True):
        expansion = taylor_expand(network, START, degree)

        @jax.jit
        def error(t):
            change = expansion(moved(t), X) - network(moved(t), X)
            return jnp.linalg.norm(change)

        errors = np.array([float(error(t)) for t in (1e-2, 5e-3, 2.5e-3)])
    np.testing.assert_allclose(np.log2(errors[:-1] / errors[1:]), degree + 1, atol=0.1)


def test_the_tangent_kernel_does_not_change_with_the_parameters():
    x, v = X.astype(np.float32), np.ones((5, 2), np.float32)
    start, far = (jax.tree.map(np.float32, p) for p in (START, moved(3.0)))
    f = linearize(network, start)
    expected = ntk_vector_product(network, start, x, None, v)
    np.testing.assert_allclose(
        ntk_vector_product(f, far, x, None, v), expected, rtol=1e-4
    )


def test_it_can_be_traced_mapped_and_differentiated():
    with jax.enable_x64(True):
        f = taylor_expand(network, START, 2)
        rows = jax.jit(jax.vmap(f, (None, 0)))(moved(0.5), X)
        np.testing.assert_allclose(rows, f(moved(0.5), X), rtol=1e-12)

        def along(t):
            return jnp.sum(f(moved(t), X))

        def exact(t):
            return jnp.sum(network(moved(t), X))

        # The parabola's own slope and curvature: those of the network at t = 0.
        slope, curvature = jax.grad(exact)(0.0), jax.grad(jax.grad(exact))(0.0)
        found = float(jax.grad(along)(0.5))
        np.testing.assert_allclose(found, float(slope + 0.5 * curvature), rtol=1e-10)


def test_outputs_may_be_a_tree_and_dtypes_are_kept():
    def apply(params, x):
        return {"a": params * x, "b": (params**2, x)}

    start = jnp.float32(2.0)
    found = taylor_expand(apply, start, 2)(jnp.float32(3.0), jnp.float32(5.0))
    assert jax.tree.map(float, found) == {"a": 15.0, "b": (9.0, 5.0)}
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype(jnp.float32)}


def test_scaled_output_starts_at_zero_and_nears_the_linearization():
    with jax.enable_x64(True):
        linear = np.asarray(linearize(network, START)(moved(1.0), X))
        change = linear - np.asarray(network(START, X))
        errors = []
        for alpha in (1e2, 1e4):
            f = scaled_output(network, START, alpha)
            np.testing.assert_allclose(f(START, X), 0, atol=1e-14 * alpha)
            errors.append(np.abs(np.asarray(f(moved(1 / alpha), X)) - change).max())
        doubled = scaled_output(network, START, 2.0)(moved(1.0), X)
        expected = 2 * (network(moved(1.0), X) - network(START, X))
        np.testing.assert_allclose(doubled, expected, rtol=1e-14)
    np.testing.assert_allclose(errors[0] / errors[1], 100, rtol=0.1)


def test_many_scales_at_once():
    def at(alpha):
        return scaled_output(lambda w, x: w * x, jnp.float32(1.0), alpha)(3.0, 4.0)

    np.testing.assert_allclose(jax.vmap(at)(jnp.array([1.0, 10.0])), [8.0, 80.0])


@pytest.mark.parametrize("degree", [-1, 1.0, True, None])
def test_wrong_degrees(degree):
    with pytest.raises(ValueError, match="degree must be an integer >= 0, got"):
        taylor_expand(network, START, degree)


@pytest.mark.parametrize("alpha", [0, -1.0, np.inf, np.nan])
def test_wrong_scales(alpha):
    with pytest.raises(ValueError, match=r"alpha must be in \(0, inf\), got"):
        scaled_output(network, START, alpha)


@pytest.mark.parametrize(
    "expand",
    [
        linearize,
        lambda apply, params: taylor_expand(apply, params, 0),
        lambda apply, params: scaled_output(apply, params, 2.0),
    ],
)
def test_wrong_parameters(expand):
    with pytest.raises(ValueError, match="params must have leaves of float32 or"):
        expand(network, {"w": np.ones(3, int)})
    f = expand(network, jax.tree.map(np.float32, START))
    for other in ({"w": START["w"]}, {"w": START["w"], "v": START["v"][:, :1]}):
        with pytest.raises(ValueError, match="params must be a tree of shapes"):
            f(other, X)
