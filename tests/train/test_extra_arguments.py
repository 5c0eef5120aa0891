"""What training offers to optimizers besides the gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import losses, optim, train

RNG = np.random.default_rng(0)
X = RNG.normal(size=(30, 4)).astype(np.float32) * np.array([1, 3, 0.3, 1], "float32")
Y = (X @ RNG.normal(size=(4, 1))).astype(np.float32)
KEY = jax.random.key(0)


def apply(w, x):
    return x @ w


LOSS = train.supervised(apply, losses.squared_error)
ZERO = jnp.zeros((4, 1))


def fit(optimizer, steps=3, loss=LOSS, **settings):
    return train.fit(KEY, loss, ZERO, optimizer, (X, Y), steps=steps, **settings)


def test_lbfgs_minimizes():
    solution = np.linalg.lstsq(X.astype(float), Y.astype(float))[0]
    run = fit(optax.lbfgs(), steps=25)
    np.testing.assert_allclose(run.params, solution, rtol=1e-3, atol=1e-4)
    assert run.history["loss"][-1] < 1e-7
    assert (np.diff(run.history["loss"][:6]) < 0).all()


def test_a_backtracking_line_search_descends_on_each_batch():
    search = optax.scale_by_backtracking_linesearch(max_backtracking_steps=30)
    run = fit(optax.chain(optax.sgd(100.0), search), steps=20)
    assert (np.diff(run.history["loss"]) < 0).all()
    assert int(run.failed_at) == 0


def recorder(update):
    return optim.GradientTransformation(lambda params: (jnp.zeros(()),) * 3, update)


def test_all_of_them_are_what_they_are_called():
    def loss(w, state, batch, key):
        value, _ = LOSS(w, None, batch, key)
        return value + state * jnp.sum(w) + jax.random.normal(key), (state, {})

    def update(grads, state, params, *, value, grad, value_fn, batch):
        again, gradient = jax.value_and_grad(value_fn)(params)
        same = jnp.max(jnp.abs(gradient - grad)) + jnp.max(jnp.abs(grads - grad))
        return jax.tree.map(jnp.negative, grads), (
            again - value,
            same,
            jnp.sum(batch[0]),
        )

    run = fit(recorder(update), loss=loss, state=jnp.array(0.3), batch_size=30)
    np.testing.assert_allclose(run.optimizer[:2], 0, atol=1e-5)
    np.testing.assert_allclose(run.optimizer[2], X.sum(), rtol=1e-4)


def test_an_update_is_given_what_it_names_and_no_more():
    def plain(grads, state, params=None):
        return grads, state

    def named(grads, state, params=None, batch=None):
        return grads, (jnp.sum(batch[1]), state[1], state[2])

    def open_to_all(grads, state, params=None, **extra):
        assert sorted(extra) == ["batch", "grad", "value", "value_fn"]
        return grads, (extra["value"], *state[1:])

    assert float(fit(recorder(plain)).optimizer[0]) == 0
    np.testing.assert_allclose(fit(recorder(named)).optimizer[0], Y.sum(), rtol=1e-5)
    chained = optim.chain(optim.sgd(0.1), recorder(open_to_all), recorder(plain))
    assert float(fit(chained).optimizer[1][0]) > 0


def test_members_of_an_ensemble_search_for_themselves():
    keys = jax.random.split(KEY, 2)
    starts = jnp.stack([ZERO, ZERO + 5])
    run = train.fit_ensemble(keys, LOSS, starts, optax.lbfgs(), (X, Y), steps=20)
    np.testing.assert_allclose(run.params[0], run.params[1], rtol=1e-2, atol=1e-3)


def mean_loss(w, batch):
    x, y = batch
    return jnp.mean(jax.vmap(losses.squared_error)(x @ w, y))


def test_second_order_methods_get_the_batch():
    solution = np.linalg.lstsq(X.astype(float), Y.astype(float))[0]
    for optimizer in (
        optim.newton(mean_loss, solver="cg"),
        optim.gauss_newton(apply, losses.squared_error),
    ):
        run = fit(optimizer, steps=2)
        np.testing.assert_allclose(run.params, solution, rtol=1e-3, atol=1e-3)
        assert run.history["loss"][1] < 1e-6 * run.history["loss"][0]
    run = fit(optim.levenberg_marquardt(apply, losses.squared_error), steps=6)
    np.testing.assert_allclose(run.params, solution, rtol=1e-2, atol=1e-2)
    assert (np.diff(run.history["loss"]) < 0).all()
    np.testing.assert_allclose(run.optimizer.damping, 3.0**-6, rtol=1e-5)


def test_second_order_methods_descend_on_mini_batches():
    run = fit(
        optim.natural_gradient(apply, "normal", 0.5, 1e-3), steps=60, batch_size=10
    )
    assert run.history["loss"][-1] < 1e-4 * run.history["loss"][0]
