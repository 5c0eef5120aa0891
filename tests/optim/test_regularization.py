import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.linear_model import Lasso

from jaxdl import optim
from tests.optim.trajectories import assert_follows, run

RNG = np.random.default_rng(0)
G = RNG.normal(size=(4,)).astype(np.float32)
THETA = np.float32([-2.0, -0.1, 0.0, 3.0])
X = RNG.normal(size=(30, 5))
Y = X @ np.array([2.0, 0.0, -1.0, 0.0, 0.3]) + 0.1 * RNG.normal(size=30)
MAKERS = {
    "add_decayed_weights": optim.add_decayed_weights,
    "add_l1_subgradient": optim.add_l1_subgradient,
    "proximal_l1": lambda strength: optim.proximal_l1(strength, 0.5),
}


@pytest.mark.parametrize(
    ("transform", "name"),
    [
        (optim.adamw(0.1, weight_decay=0.1), "adamw"),
        (optim.chain(optim.add_decayed_weights(0.1), optim.adam(0.1)), "adam_l2"),
        (optim.chain(optim.add_decayed_weights(0.1), optim.sgd(0.01)), "sgd_wd"),
    ],
)
def test_golden_trajectories(transform, name):
    assert_follows(transform, name)


def test_adamw_matches_optax_under_schedules():
    settings = {"b1": 0.5, "b2": 0.7, "eps": 0.1, "eps_root": 0.2}
    rate = optim.exponential_decay(0.3, 0.5)
    ours = optim.adamw(rate, **settings, weight_decay=0.4)
    theirs = optax.adamw(rate, **settings, weight_decay=0.4)
    np.testing.assert_allclose(
        run(ours, [G] * 4, THETA), run(theirs, [G] * 4, THETA), rtol=1e-5
    )


def test_decay_leaves_out_what_the_mask_says():
    params = {"w": jnp.ones((2, 2)), "b": jnp.ones(2)}
    zeros = jax.tree.map(jnp.zeros_like, params)

    def matrices(tree):
        return jax.tree.map(lambda leaf: leaf.ndim == 2, tree)

    for mask in (matrices, {"w": True, "b": False}):
        (updates,) = run(optim.add_decayed_weights(0.3, mask), [zeros], params)
        np.testing.assert_allclose(updates["w"], np.full((2, 2), 0.3), rtol=1e-6)
        np.testing.assert_array_equal(updates["b"], np.zeros(2))


def test_the_subgradient_is_the_derivative_of_the_penalty():
    got = run(optim.add_l1_subgradient(0.7), [G], THETA)[0]
    np.testing.assert_allclose(got, G + 0.7 * np.sign(THETA), rtol=1e-6)


def test_a_strength_may_be_a_schedule_that_starts_at_zero():
    zeros = jnp.zeros(4)
    for make, factor in (
        (optim.add_decayed_weights, THETA),
        (optim.add_l1_subgradient, np.sign(THETA)),
    ):
        updates = run(make(lambda step: 0.5 * (step + 1)), [zeros] * 2, THETA)
        np.testing.assert_allclose(updates, [0.5 * factor, factor], rtol=1e-6)
    cuts = run(optim.proximal_l1(lambda step: step + 1.0, 0.5), [zeros] * 2, THETA)
    np.testing.assert_allclose(
        cuts, [[0.5, 0.1, 0.0, -0.5], [1.0, 0.1, 0.0, -1.0]], rtol=1e-6
    )


def test_proximal_descent_solves_the_lasso():
    alpha = 0.2
    with jax.enable_x64(True):
        optimizer = optim.chain(optim.sgd(0.3), optim.proximal_l1(0.3, alpha))

        def step(carry, _):
            w, state = carry
            gradient = X.T @ (X @ w - Y) / len(Y)
            updates, state = optimizer.update(gradient, state, w)
            return (optim.apply_updates(w, updates), state), None

        w = jnp.zeros(5)
        (w, _), _ = jax.lax.scan(step, (w, optimizer.init(w)), None, 500)
        w = np.asarray(w)
    expected = Lasso(alpha=alpha, fit_intercept=False, tol=1e-12).fit(X, Y).coef_
    np.testing.assert_allclose(w, expected, atol=1e-8)
    assert (w == 0).sum() == (expected == 0).sum() > 0


@pytest.mark.parametrize("name", MAKERS)
def test_vmap_over_the_strength_equals_a_loop(name):
    def update(strength):
        return run(MAKERS[name](strength), [G], THETA)[0]

    strengths = np.float32([0.0, 0.3, 2.0])
    loop = [update(float(s)) for s in strengths]
    np.testing.assert_allclose(jax.vmap(update)(strengths), loop, rtol=1e-5)


@pytest.mark.parametrize("name", MAKERS)
def test_dtype_none_and_missing_parameters(name):
    transform = MAKERS[name](jnp.float32(0.3))
    params = {"a": jnp.ones(2, jnp.bfloat16), "b": jnp.ones(2), "c": None}
    updates = {"a": jnp.ones(2, jnp.bfloat16), "b": None, "c": None}
    got, state = transform.update(updates, transform.init(params), params)
    assert got["a"].dtype == jnp.bfloat16
    assert got["b"] is got["c"] is None
    with pytest.raises(ValueError, match=f"{name} needs the parameters"):
        transform.update(updates, state)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("strength", [-0.1, float("nan")])
def test_a_wrong_strength_raises(name, strength):
    with pytest.raises(ValueError, match=r"must be in \[0, inf\)"):
        MAKERS[name](strength)
    with pytest.raises(ValueError, match="strength must be in"):
        optim.proximal_l1(0.1, -1.0)
