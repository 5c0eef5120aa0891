import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.curvature import (
    empirical_fisher_vp,
    fisher_vp,
    ggn_vp,
    hessian,
    materialize,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(7, 3)).astype(np.float32)
W = RNG.normal(size=(3, 4)).astype(np.float32)
LABELS = RNG.integers(0, 4, size=7)


def linear(w, x):
    return x @ w


def cross_entropy(z, y):
    return jax.nn.logsumexp(z) - z[y]


def mean_loss(w, batch):
    return jnp.mean(jax.vmap(lambda x, y: cross_entropy(x @ w, y))(*batch))


@pytest.mark.parametrize(("name", "chunk_size"), [("mse", None), ("ce", 5)])
def test_the_definition(name, chunk_size, golden, network, losses_of_outputs, batches):
    with jax.enable_x64(True):
        theta, (x, y) = golden["theta"], batches[name]
        operator = ggn_vp(
            network, losses_of_outputs[name], theta, (x, y), chunk_size=chunk_size
        )
        found = np.asarray(materialize(operator))
        form = float(operator.quadratic_form(golden["v"]))

        @jax.jit
        @jax.vmap
        def reference(x, y):
            inner = jax.hessian(losses_of_outputs[name])(network(theta, x), y)
            return jax.jacobian(network)(jnp.asarray(theta), x), inner

        jacobians, inner = map(np.asarray, reference(x, y))
    expected = np.einsum("nap,nab,nbq->pq", jacobians, inner, jacobians) / len(x)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose(form, golden["v"] @ expected @ golden["v"], rtol=1e-10)


def test_of_a_linear_model_it_is_the_hessian():
    found = materialize(ggn_vp(linear, cross_entropy, W, (X, LABELS)))
    expected = hessian(mean_loss, W, (X, LABELS))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_fisher_of_logits_is_the_mean_over_the_models_labels(golden, network):
    with jax.enable_x64(True):
        theta, x = jnp.asarray(golden["theta"]), golden["X"]
        found = np.asarray(
            materialize(fisher_vp(network, "categorical", theta, x, chunk_size=5))
        )

        def score(theta, x, y):
            return jax.nn.log_softmax(network(theta, x))[y]

        @jax.jit
        @jax.vmap
        def reference(x):
            scores = [jax.grad(score)(theta, x, y) for y in (0, 1)]
            return jnp.stack(scores), jax.nn.softmax(network(theta, x))

        scores, probabilities = map(np.asarray, reference(x))
    expected = np.einsum("ny,nyp,nyq->pq", probabilities, scores, scores) / len(x)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert np.linalg.eigvalsh(found).min() > -1e-12


@pytest.mark.parametrize(
    ("family", "second"),
    [
        ("normal", lambda z: np.ones_like(z)),
        ("bernoulli", lambda z: 1 / (2 + np.exp(z) + np.exp(-z))),
        (lambda z: jnp.sum(jnp.exp(z)), np.exp),  # Poisson
    ],
)
def test_fisher_of_other_families(family, second):
    found = materialize(fisher_vp(linear, family, W, X))
    z = X @ W  # output j depends on column j of W only
    expected = np.zeros((3, 4, 3, 4))
    for j in range(4):
        expected[:, j, :, j] = X.T @ (second(z[:, j])[:, None] * X) / len(X)
    np.testing.assert_allclose(found, expected.reshape(12, 12), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("chunk_size", [None, 3])
def test_empirical_fisher_is_the_second_moment_of_gradients(chunk_size):
    operator = empirical_fisher_vp(mean_loss, W, (X, LABELS), chunk_size=chunk_size)
    residuals = jax.nn.softmax(X @ W) - np.eye(4)[LABELS]
    gradients = (X[:, :, None] * residuals[:, None]).reshape(7, 12)
    expected = gradients.T @ gradients / 7
    np.testing.assert_allclose(materialize(operator), expected, rtol=1e-4, atol=1e-6)
    v = np.cos(W)
    np.testing.assert_allclose(
        operator.quadratic_form(v), v.ravel() @ expected @ v.ravel(), rtol=1e-4
    )


def test_vmap_over_parameters_equals_a_loop():
    def product(w):
        return ggn_vp(linear, cross_entropy, w, (X, LABELS)).matvec(W)

    found = jax.vmap(product)(jnp.stack([W, -W]))
    np.testing.assert_allclose(found, [product(W), product(-W)], atol=1e-5)


def test_float32_stays_float32_beside_float64():
    with jax.enable_x64(True):
        for operator in (
            ggn_vp(linear, cross_entropy, W, (X, LABELS), chunk_size=3),
            fisher_vp(linear, "categorical", W, X),
            empirical_fisher_vp(mean_loss, W, (X, LABELS)),
        ):
            assert operator.matvec(W).dtype == np.float32
            assert operator.quadratic_form(W).dtype == np.float32


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ggn_vp(linear, cross_entropy, W, X), r"must be a pair \(x, y\), got"),
        (
            lambda: ggn_vp(linear, cross_entropy, W, (X, LABELS[:3])),
            "same number of ex",
        ),
        (
            lambda: ggn_vp(linear, cross_entropy, LABELS, (X, LABELS)),
            "params must have",
        ),
        (
            lambda: ggn_vp(linear, lambda z, _: z, W, (X, LABELS)),
            r"must be \(\), got shape",
        ),
        (
            lambda: fisher_vp(linear, "gamma", W, X),
            "log_partition must be a function or",
        ),
        (lambda: fisher_vp(linear, "normal", W, X[0, 0]), "along their first axis"),
        (
            lambda: empirical_fisher_vp(lambda w, _: w, W, X),
            r"must return \(\), got shape",
        ),
        (lambda: empirical_fisher_vp(mean_loss, W, ()), "along their first axis"),
    ],
)
def test_rejects(call, message):
    with pytest.raises(ValueError, match=message):
        call()
