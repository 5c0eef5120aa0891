import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import optim, tree
from jaxdl.landscape import (
    Axis,
    Group,
    Symmetry,
    effective_learning_rate,
    equilibrium_squared_norm,
    linear_form,
    logit_sums,
    mlp_symmetry,
    momentum_quantity,
    momentum_quantity_change,
    quantity,
    quantity_change,
    rescaling_form,
)
from jaxdl.models import mlp
from jaxdl.nn import identity
from tests.landscape import networks

RNG = np.random.default_rng(0)
SIZES = (4, 5, 7, 3)
X = RNG.normal(size=(9, 4))
Y = RNG.normal(size=(9, 3))
LABELS = RNG.integers(0, 3, 9)


def mse(params, activation):
    z = jax.vmap(lambda x: mlp.apply(params, x, activation=activation))(X)
    return jnp.mean((z - Y) ** 2)


def cross_entropy(params):
    z = jax.vmap(lambda x: mlp.apply(params, x, activation=jnp.tanh))(X)
    return jnp.mean(jax.nn.logsumexp(z, 1) - z[np.arange(9), LABELS])


relu_gradient = jax.jit(jax.grad(lambda params: mse(params, jax.nn.relu)))
linear_gradient = jax.jit(jax.grad(lambda params: mse(params, identity)))
CASES = {
    "relu": (
        relu_gradient,
        lambda params: rescaling_form(mlp_symmetry(params, "relu")),
    ),
    "linear 0": (linear_gradient, lambda params: linear_form(0)),
    "linear 1": (linear_gradient, lambda params: linear_form(1)),
}


@pytest.fixture(params=CASES)
def case(request):
    gradient, make = CASES[request.param]
    with jax.enable_x64(True):
        params = networks.layers(SIZES, dtype=np.float64)
        yield params, gradient, make(params)


def close(a, b, atol=1e-12):
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-10, atol=atol), a, b
    )


def difference(form, new, old):
    return jax.tree.map(jnp.subtract, quantity(form, new), quantity(form, old))


def test_gradient_descent(case):
    params, gradient, form = case
    g = gradient(params)
    new = tree.add_scaled(params, -0.3, g)
    change = quantity_change(form, params, g, 0.3)
    close(difference(form, new, params), change)
    close(change, jax.tree.map(lambda q: 0.09 * q, form(g, g)))
    assert max(np.max(np.abs(c)) for c in jax.tree.leaves(change)) > 1e-2


def test_the_literature_formulas():
    with jax.enable_x64(True):
        params = networks.layers(SIZES, dtype=np.float64)
        (w1, b1), (w2, _), _ = params
        form = rescaling_form(mlp_symmetry(params, "relu"))
        expected = (w1**2).sum(0) + b1**2 - (w2**2).sum(1)
        np.testing.assert_allclose(quantity(form, params)["hidden0"], expected)
        expected = w2 @ w2.T - w1.T @ w1 - np.outer(b1, b1)
        np.testing.assert_allclose(quantity(linear_form(0), params), expected)


def test_momentum_and_weight_decay_step_by_step(case):
    params, gradient, form = case
    rate, beta, decay = 0.1, 0.8, 0.3
    velocity = tree.zeros_like(params)
    for _ in range(4):
        g = gradient(params)
        change = quantity_change(
            form,
            params,
            g,
            rate,
            momentum=beta,
            velocity=velocity,
            weight_decay=decay,
        )
        velocity = jax.tree.map(
            lambda v, g, p: beta * v + g + decay * p, velocity, g, params
        )
        new = tree.add_scaled(params, -rate, velocity)
        close(difference(form, new, params), change)
        params = new


def test_weight_decay_balances(case):
    params, gradient, form = case
    g, rate, decay = gradient(params), 0.2, 0.5
    new = tree.add_scaled(tree.scale(1 - rate * decay, params), -rate, g)
    expected = jax.tree.map(
        lambda q, s: (1 - rate * decay) ** 2 * q + rate**2 * s,
        quantity(form, params),
        form(g, g),
    )
    close(quantity(form, new), expected)


def test_what_momentum_conserves(case):
    params, gradient, form = case
    rate, beta = 0.1, 0.9
    optimizer = optim.momentum(rate, beta)
    state = optimizer.init(params)
    velocity = tree.zeros_like(params)
    for _ in range(4):
        before = momentum_quantity(form, params, velocity, rate, beta)
        g = gradient(params)
        updates, state = optimizer.update(g, state, params)
        velocity = tree.add_scaled(g, beta, velocity)
        params = tree.add(params, updates)
        after = momentum_quantity(form, params, velocity, rate, beta)
        change = momentum_quantity_change(form, velocity, rate, beta)
        close(jax.tree.map(jnp.subtract, after, before), change)


def normalized(params, x, epsilon):
    """A batch-normalized layer, and a linear one; of a whole batch."""
    z = x @ params["w"]
    z = (z - z.mean(0, keepdims=True)) / jnp.sqrt(z.var(0, keepdims=True) + epsilon)
    return jnp.tanh(z) @ params["out"]


def batch_loss(params, epsilon):
    return jnp.mean((normalized(params, X, epsilon) - Y) ** 2)


batch_gradient = jax.jit(jax.grad(batch_loss))
REMOVED = Symmetry(
    {"h": Group(6, permutes=False, scales=True)}, [Axis("w", 1, "h", power=1)]
)


def test_batch_normalization():
    with jax.enable_x64(True):
        params = networks.normal({"w": (4, 6), "out": (6, 3)}, dtype=np.float64)
        form, rate, decay = rescaling_form(REMOVED), 0.5, 0.2
        g = batch_gradient(params, 0.0)
        w, gw = params["w"], np.asarray(g["w"])
        np.testing.assert_allclose((w * gw).sum(0), 0, atol=1e-14)
        norm = np.asarray(quantity(form, params)["h"])
        np.testing.assert_allclose(norm, (w**2).sum(0))
        new = w - rate * gw
        np.testing.assert_allclose(
            (new**2).sum(0) - norm, quantity_change(form, params, g, rate)["h"]
        )
        # g(c w) = g(w) / c, and the direction moves at the effective rate.
        halved = batch_gradient(params | {"w": w / 2}, 0.0)["w"]
        np.testing.assert_allclose(halved, 2 * gw, atol=1e-12)
        unit = w / np.sqrt(norm)
        gu = np.asarray(batch_gradient(params | {"w": unit}, 0.0)["w"])
        effective = np.asarray(effective_learning_rate(norm, rate, decay))
        step = (1 - rate * decay) * w - rate * gw
        direction = unit - effective * gu
        np.testing.assert_allclose(
            step / np.linalg.norm(step, axis=0),
            direction / np.linalg.norm(direction, axis=0),
            rtol=1e-12,
        )


def test_equilibrium_is_the_fixed_point():
    rate, decay, squared = 0.5, 0.1, np.array([0.3, 2.0])
    norm = np.asarray(equilibrium_squared_norm(squared, rate, decay))
    after = (1 - rate * decay) ** 2 * norm + rate**2 * squared / norm
    np.testing.assert_allclose(after, norm, rtol=1e-6)


def test_epsilon_breaks_the_law_by_as_much_as_it_weighs():
    with jax.enable_x64(True):
        params = networks.normal({"w": (4, 6), "out": (6, 3)}, dtype=np.float64)
        cosine = {}
        for scale in (1.0, 0.01):
            w = scale * params["w"]
            g = np.asarray(batch_gradient(params | {"w": w}, 1e-5)["w"])
            cosine[scale] = np.max(
                np.abs((w * g).sum(0))
                / np.linalg.norm(w, axis=0)
                / np.linalg.norm(g, axis=0)
            )
    assert cosine[1.0] < 1e-4
    assert cosine[0.01] > 0.03


def test_sums_of_logits():
    with jax.enable_x64(True):
        params = networks.layers(SIZES, dtype=np.float64)
        start = logit_sums(params)
        optimizer = optim.momentum(0.5, 0.9)
        state, gradient = optimizer.init(params), jax.jit(jax.grad(cross_entropy))
        for _ in range(5):
            updates, state = optimizer.update(gradient(params), state, params)
            params = tree.add(params, updates)
        close(logit_sums(params), start)
        np.testing.assert_allclose(
            start[0], networks.layers(SIZES)[2].kernel.sum(1), rtol=1e-5
        )


def test_vmap_and_dtypes():
    params = networks.layers(SIZES)
    form = rescaling_form(mlp_symmetry(params, "relu"))
    many = jax.tree.map(lambda x: np.stack([x, 2 * x]), params)
    got = jax.vmap(lambda p: quantity(form, p))(many)["hidden1"]
    one = quantity(form, params)["hidden1"]
    np.testing.assert_allclose(got, np.stack([one, 4 * one]), rtol=1e-5)
    assert got.dtype == jnp.float32


def test_errors():
    params = networks.layers(SIZES)
    form = linear_form(0)
    with pytest.raises(ValueError, match="momentum must lie in"):
        momentum_quantity(form, params, params, 0.1, 1.0)
    with pytest.raises(ValueError, match="momentum must lie in"):
        momentum_quantity_change(form, params, 0.1, -0.1)
