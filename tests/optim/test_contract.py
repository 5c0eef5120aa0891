"""What every transformation must do, ours inside optax's and theirs inside ours."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import optim

RNG = np.random.default_rng(0)
PARAMS = {
    "w": RNG.normal(size=(2, 3)).astype(np.float32),
    "b": RNG.normal(size=(3,)).astype(np.float32),
}
GRADS = {
    "w": RNG.normal(size=(2, 3)).astype(np.float32),
    "b": RNG.normal(size=(3,)).astype(np.float32),
}
RATE = optim.exponential_decay(0.1, 0.01)
TRANSFORMS = {
    "identity": optim.identity(),
    "set_to_zero": optim.set_to_zero(),
    "scale": optim.scale(0.5),
    "scale_by_schedule": optim.scale_by_schedule(RATE),
    "sgd": optim.sgd(0.1),
    "sgd_scheduled": optim.sgd(RATE),
    "momentum": optim.momentum(RATE, 0.8),
    "momentum_rate_inside": optim.momentum(RATE, 0.8, rate_inside=True),
    "nesterov": optim.nesterov(0.1),
    "rmsprop": optim.rmsprop(0.1, centered=True, momentum=0.5),
    "adagrad": optim.adagrad(0.1),
    "adam": optim.adam(RATE),
    "adamw": optim.adamw(0.1, weight_decay=RATE),
    "nadam": optim.nadam(0.1),
    "amsgrad": optim.amsgrad(0.1),
    "lion": optim.lion(0.1),
    "sign_sgd": optim.sign_sgd(0.1),
    "add_l1_subgradient": optim.add_l1_subgradient(0.1),
    "proximal_l1": optim.proximal_l1(0.1, 0.2),
    "clip": optim.clip(0.3),
    "clip_by_global_norm": optim.clip_by_global_norm(0.3),
    "add_noise": optim.add_noise(jax.random.key(0), 0.1, 0.5),
    "accumulate": optim.accumulate(optim.adam(0.1), 2),
    "apply_if_finite": optim.apply_if_finite(optim.adam(0.1), 2),
    "inject_hyperparams": optim.inject_hyperparams(optim.adam)(RATE),
    "polyak_average": optim.polyak_average(),
    "ema_average": optim.ema_average(0.9),
}
# What treats the leaves apart; of the rest the norm or the draws depend on all.
LEAFWISE = sorted(set(TRANSFORMS) - {"clip_by_global_norm", "add_noise"})
FAST = {"momentum", "adamw", "inject_hyperparams"}
every = pytest.mark.parametrize("name", TRANSFORMS)


def some_slow(names):
    """Few of them in the fast suite, for the time that compiling takes."""
    marks = {name: () if name in FAST else pytest.mark.slow for name in names}
    return pytest.mark.parametrize(
        "name", [pytest.param(name, marks=marks[name]) for name in names]
    )


def two_updates(transform, params=PARAMS, grads=GRADS):
    """The second updates and the state after them, jitted."""

    @jax.jit
    def both(params, grads):
        state = transform.init(params)
        _, state = transform.update(grads, state, params)
        return transform.update(grads, state, params)

    return both(params, grads)


def assert_same(a, b, rtol=1e-6):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol, 1e-7), a, b)


def types(tree):
    """Shapes, dtypes and weak types, as a scan compares them."""
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.weak_type), tree)


@every
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_updates_are_as_the_gradient_and_the_state_is_stable(name, dtype):
    transform = TRANSFORMS[name]
    params = jax.tree.map(lambda p: jnp.asarray(p, dtype), PARAMS)
    grads = jax.tree.map(lambda g: jnp.asarray(g, dtype), GRADS)

    def step(state):
        return transform.update(grads, state, params)

    with jax.numpy_dtype_promotion("strict" if dtype == "float32" else "standard"):
        state = transform.init(params)
        updates, after = jax.eval_shape(step, state)
    assert jax.tree.map(lambda u: (u.shape, u.dtype), updates) == jax.tree.map(
        lambda g: (g.shape, g.dtype), grads
    )
    assert types(after) == types(state)


@every
def test_absent_and_masked_leaves_pass(name):
    transform = TRANSFORMS[name]
    expected, _ = two_updates(transform)
    holes = {"none": None, "masked": optim.MaskedNode(), "theirs": optax.MaskedNode()}
    updates, _ = two_updates(transform, PARAMS | holes, GRADS | holes)
    assert {key: updates.pop(key) for key in holes} == holes
    if name in LEAFWISE:
        assert_same(updates, expected)


@every
def test_init_only_maps_over_the_tree(name):
    # With placeholders for the parameters, as optax.tree.map_params calls it.
    transform = TRANSFORMS[name]
    state = transform.init(PARAMS)
    assert_same(optax.tree.map_params(transform, lambda leaf: leaf, state), state)
    doubled = optax.tree.map_params(transform, lambda leaf: 2 * leaf + 1, state)
    assert jax.tree.structure(doubled) == jax.tree.structure(state)


@some_slow(LEAFWISE)
def test_inside_the_wrappers_of_optax_and_ours(name):
    transform = TRANSFORMS[name]
    expected, _ = two_updates(transform)
    mask, labels = {"w": True, "b": False}, {"w": "t", "b": "zero"}
    for library in (optax, optim):
        chained, _ = two_updates(library.chain(library.scale(2.0), transform))
        plain, _ = two_updates(transform, PARAMS, jax.tree.map(lambda g: 2 * g, GRADS))
        assert_same(chained, plain)
        masked, _ = two_updates(library.masked(transform, mask))
        assert_same(masked, {"w": expected["w"], "b": GRADS["b"]})
        parts = {"t": transform, "zero": library.set_to_zero()}
        parted, _ = two_updates(library.partition(parts, labels))
        assert_same(parted, {"w": expected["w"], "b": 0 * GRADS["b"]})


@some_slow(TRANSFORMS)
def test_inside_optax_multi_steps(name):
    transform = TRANSFORMS[name]
    steps = optax.MultiSteps(transform, every_k_schedule=2)
    updates, state = two_updates(steps)
    once, _ = jax.jit(lambda: transform.update(GRADS, transform.init(PARAMS), PARAMS))()
    assert_same(updates, once)
    assert state.gradient_step == 1


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_optax_inside_ours(name):
    theirs = {"adamw": optax.adamw(0.1), "sgd": optax.sgd(0.1, 0.9)}[name]
    expected, _ = two_updates(theirs)
    labels = jax.tree.map(lambda _: "all", PARAMS)
    for wrapped in (
        optim.chain(optim.identity(), theirs),
        optim.apply_if_finite(theirs, 1),
        optim.accumulate(theirs, 1),
        optim.partition({"all": theirs}, labels),
    ):
        assert_same(two_updates(wrapped)[0], expected)
    masked, _ = two_updates(optim.masked(theirs, {"w": True, "b": False}))
    assert_same(masked, {"w": expected["w"], "b": GRADS["b"]})


@every
def test_extra_arguments_are_ignored(name):
    transform = optim.with_extra_args(TRANSFORMS[name])

    def update(grads):
        return transform.update(grads, transform.init(PARAMS), PARAMS, unexpected=1)

    jax.eval_shape(update, GRADS)


@pytest.mark.parametrize("name", ["adam", "rmsprop", "momentum", "lion", "adagrad"])
def test_a_gradient_that_is_not_finite_shows(name):
    bad = GRADS | {"b": np.full(3, np.nan, np.float32)}
    updates, _ = two_updates(TRANSFORMS[name], PARAMS, bad)
    assert np.isnan(updates["b"]).all()
    assert np.isfinite(updates["w"]).all()


def test_derivative_with_respect_to_the_learning_rate():
    # Two steps of gradient descent on theta^2 / 2: theta (1 - lr)^2.
    def after_two(rate):
        theta, transform = jnp.array(3.0), optim.sgd(rate)
        state = transform.init(theta)
        for _ in range(2):
            updates, state = transform.update(theta, state, theta)
            theta = optim.apply_updates(theta, updates)
        return theta

    np.testing.assert_allclose(jax.grad(after_two)(0.1), -2 * 3 * 0.9, rtol=1e-6)
