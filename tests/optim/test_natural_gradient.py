import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import optim
from jaxdl.losses import cross_entropy
from tests.optim.second_order import (
    LABELS,
    RIDGE,
    THETA,
    X,
    dense,
    descend,
    log_loss,
    logistic_derivatives,
    logistic_loss,
    logit,
)

RNG = np.random.default_rng(3)
CLASSES = RNG.integers(0, 3, size=12)
W0 = 0.3 * RNG.normal(size=(3, 2))


def logits(w, x):
    """Three classes, the first of which has score 0: no redundant parameters."""
    return jnp.concatenate([jnp.zeros(1, w.dtype), x @ w])


def softmax_loss(w, batch):
    x, one_hot = batch
    z = jax.vmap(logits, (None, 0))(w, x)
    return jnp.mean(jax.nn.logsumexp(z, axis=1) - jnp.sum(one_hot * z, axis=1))


def labelled(z, one_hot):
    return jax.nn.logsumexp(z) - jnp.sum(one_hot * z)


BATCH = (X, np.eye(3)[CLASSES])


def softmax_derivatives(theta):
    """Gradient and Fisher matrix, the latter by summing over the labels."""
    w, n = theta.reshape(3, 2), len(X)
    gradient, fisher = np.zeros(6), np.zeros((6, 6))
    for x, label in zip(X, CLASSES, strict=True):
        z = np.concatenate([[0.0], x @ w])
        p = np.exp(z) / np.exp(z).sum()
        for y in range(3):
            score = np.outer(x, (np.eye(3)[y] - p)[1:]).ravel()
            fisher += p[y] * np.outer(score, score) / n
            if y == label:
                gradient -= score / n
    return gradient, fisher


@pytest.mark.parametrize(("rate", "damping"), [(0.3, 0.0), (1.0, 0.1)])
def test_follows_the_dense_trajectory(rate, damping):
    optimizer = optim.natural_gradient(logits, "categorical", rate, damping, tol=1e-14)
    path, _ = descend(optimizer, softmax_loss, BATCH, 8, W0)

    def direction(theta):
        gradient, fisher = softmax_derivatives(theta)
        return -rate * np.linalg.solve(fisher + damping * np.eye(6), gradient)

    np.testing.assert_allclose(path, dense(direction, W0, 8), rtol=0, atol=1e-8)


def test_of_a_categorical_model_it_is_gauss_newton():
    natural = optim.natural_gradient(logits, "categorical", 0.7, 0.2)
    newton = optim.gauss_newton(logits, labelled, 0.7, 0.2)
    ours, _ = descend(natural, softmax_loss, BATCH, 5, W0)
    theirs, _ = descend(newton, softmax_loss, BATCH, 5, W0)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


def test_labels_are_not_looked_at():
    w = jnp.asarray(W0, jnp.float32)
    x = X.astype(np.float32)
    optimizer = optim.natural_gradient(logits, "categorical")
    grads = jax.grad(lambda w: cross_entropy(logits(w, x[0]), 1))(w)
    steps = [
        optimizer.update(grads, optimizer.init(w), w, batch=(x, y))[0]
        for y in (CLASSES, None)
    ]
    np.testing.assert_array_equal(*steps)


def test_with_outputs_linear_in_the_parameters_it_is_newton():
    # The ridge is a prior: damping that the gradient knows of.
    optimizer = optim.natural_gradient(logit, "bernoulli", 1.0, RIDGE, tol=1e-14)
    path, _ = descend(optimizer, logistic_loss, (X, LABELS), 5, THETA)

    def direction(theta):
        gradient, hessian = logistic_derivatives(theta)
        return -np.linalg.solve(hessian, gradient)

    np.testing.assert_allclose(path, dense(direction, THETA, 5), rtol=0, atol=1e-8)


def test_the_outputs_move_alike_in_any_parameterization_to_first_order():
    # theta = sinh(M phi): the outputs differ by a term quadratic in the rate.
    mixing = np.random.default_rng(4).normal(size=(4, 4)) / 2 + 1.5 * np.eye(4)

    def flat(theta, x):
        return logit({"b": theta[0], "w": theta[1:]}, x)

    def warped(phi, x):
        return flat(jnp.sinh(jnp.asarray(mixing, phi.dtype) @ phi), x)

    def loss_of(apply):
        def loss(theta, batch):
            x, y = batch
            return jnp.mean(log_loss(jax.vmap(apply, (None, 0))(theta, x), y))

        return loss

    start = np.array([0.2, -0.4, 0.3, 0.5])
    warped_start = np.linalg.solve(mixing, np.arcsinh(start))
    features = np.column_stack([np.ones(len(X)), X])

    def difference(rate, damping):
        steps = []
        for apply, theta in ((flat, start), (warped, warped_start)):
            optimizer = optim.natural_gradient(
                apply, "bernoulli", rate, damping, tol=1e-14
            )
            path, _ = descend(optimizer, loss_of(apply), (X, LABELS), 1, theta)
            theta = path[1] if apply is flat else np.sinh(mixing @ path[1])
            steps.append(features @ (theta - start))
        return np.abs(steps[0] - steps[1]).max() / np.abs(steps[0]).max()

    fine, coarse = difference(1e-3, 0.0), difference(1e-2, 0.0)
    assert coarse < 0.05
    np.testing.assert_allclose(coarse / fine, 10, rtol=0.1)
    assert difference(1e-3, 1.0) > 0.05  # damping breaks it


def test_an_unknown_family_raises():
    w = jnp.asarray(W0, jnp.float32)
    optimizer = optim.natural_gradient(logits, "gamma")
    with pytest.raises(ValueError, match="log_partition must be a function or one of"):
        optimizer.update(w, optimizer.init(w), w, batch=(np.float32(X), None))
