import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.diagnostics import check_gradient, leaf_names, step_sweep

RNG = np.random.default_rng(0)
KEY = jax.random.key(3)
X = RNG.normal(size=(12, 3))
Y = RNG.normal(size=12)
PARAMS = {
    "first": {"w": RNG.normal(size=(3, 4)), "b": RNG.normal(size=4)},
    "last": RNG.normal(size=4),
}


def loss(params):
    h = jnp.tanh(X @ params["first"]["w"] + params["first"]["b"][None])
    return jnp.mean((h @ params["last"] - Y) ** 2) / 2


def by_hand(params):
    """In NumPy."""
    w, b, v = (
        np.asarray(leaf)
        for leaf in (params["first"]["w"], params["first"]["b"], params["last"])
    )
    h = np.tanh(X @ w + b)
    residual = (h @ v - Y) / len(Y)
    delta = residual[:, None] * v * (1 - h**2)
    return {"first": {"w": X.T @ delta, "b": delta.sum(0)}, "last": h.T @ residual}


def test_names():
    assert leaf_names(PARAMS) == [
        "params['first']['b']",
        "params['first']['w']",
        "params['last']",
    ]
    assert leaf_names(1.0) == ["params"]
    assert leaf_names((1.0, [2.0]), "g") == ["g[0]", "g[1][0]"]


@pytest.mark.parametrize("directions", [1, 5, None])
@pytest.mark.parametrize("two_sided", [True, False])
@pytest.mark.parametrize("gradient", [None, by_hand])
def test_a_right_gradient(directions, two_sided, gradient):
    found = check_gradient(
        loss,
        PARAMS,
        key=KEY,
        gradient=gradient,
        directions=directions,
        two_sided=two_sided,
    )
    assert found.verdict == "right"
    assert found.relative_error < (1e-8 if two_sided else 1e-6)
    sizes = [4, 12, 4] if directions is None else [directions] * 3
    assert [len(leaf.analytic) for leaf in found.leaves] == sizes
    for leaf in found.leaves:
        lengths = np.linalg.norm(
            leaf.directions.reshape(len(leaf.analytic), -1), axis=1
        )
        np.testing.assert_allclose(lengths, 1)
        deviations = np.abs(leaf.analytic - leaf.numerical)
        assert np.all(deviations <= leaf.uncertainty)


BROKEN = {
    "sign": (("first", "b"), lambda g: -g, 2.0),
    "factor 2": (("first", "w"), lambda g: 2 * g, 0.5),
    "transposed": (("first", "w"), lambda g: np.ravel(g).reshape(4, 3).T, None),
    "one entry": (("last",), lambda g: g * np.array([1, 1, 1, 1 + 1e-3]), None),
    "nothing": (("last",), np.zeros_like, 1.0),
    "nan": (("last",), lambda g: g * np.nan, None),
}


@pytest.mark.parametrize("directions", [5, None])
@pytest.mark.parametrize("name", BROKEN)
def test_a_wrong_gradient_is_caught_and_its_leaf_is_named(name, directions):
    path, damage, error = BROKEN[name]

    def wrong(params):
        gradient = by_hand(params)
        inner = gradient
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = damage(inner[path[-1]])
        return gradient

    found = check_gradient(loss, PARAMS, key=KEY, gradient=wrong, directions=directions)
    assert found.verdict == "wrong"
    assert found.worst == "params" + "".join(f"[{step!r}]" for step in path)
    assert [leaf.verdict for leaf in found.leaves].count("right") == 2
    if error is not None:
        np.testing.assert_allclose(found.relative_error, error, rtol=1e-6)


def test_a_missing_small_term_is_caught():
    """A penalty of 1e-4 forgotten in one leaf."""

    def penalized(params):
        return loss(params) + 1e-4 * jnp.sum(params["last"] ** 2)

    found = check_gradient(penalized, PARAMS, key=KEY, gradient=by_hand)
    assert (found.verdict, found.worst) == ("wrong", "params['last']")
    assert check_gradient(penalized, PARAMS, key=KEY).verdict == "right"


def test_numpy_functions_need_a_gradient_of_their_own():
    def function(w):
        return np.sum(np.sin(np.asarray(w)))

    def gradient(w):
        return np.cos(np.asarray(w))

    w = RNG.normal(size=6)
    assert check_gradient(function, w, key=KEY, gradient=gradient).verdict == "right"


def test_float32_parameters_are_checked_in_float64():
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), PARAMS)
    found = check_gradient(jax.jit(loss), params, key=KEY)
    assert found.verdict == "right"
    assert found.relative_error < 1e-8
    assert not jax.config.read("jax_enable_x64")


@pytest.mark.parametrize("two_sided", [True, False])
def test_at_a_kink_nothing_is_called_wrong_but_what_is(two_sided):
    def relu_sum(w):
        return jnp.sum(jax.nn.relu(w))

    w = np.array([1.0, -1.0, 0.0])

    def check(gradient):
        return check_gradient(
            relu_sum,
            w,
            key=KEY,
            gradient=gradient,
            directions=None,
            two_sided=two_sided,
        ).verdict

    assert check(None) == "inconclusive"  # 0 at the kink: one of its subgradients
    assert check(lambda _: np.array([1.0, 0.0, 3.0])) == "wrong"
    assert check(lambda _: np.array([2.0, 0.0, 0.0])) == "wrong"


def test_a_leaf_without_gradient_is_right():
    def function(params):
        return jnp.sum(params["used"] ** 2) + 0 * jnp.sum(params["unused"])

    params = {"used": RNG.normal(size=3), "unused": RNG.normal(size=2)}
    assert check_gradient(function, params, key=KEY).verdict == "right"
    tiny = jax.jit(lambda p: jnp.sum(p["used"] ** 2) + 1e-14 * jnp.sum(p["unused"]))
    found = check_gradient(tiny, params, key=KEY)
    assert found.leaves[0].uncertainty[0] > 1e-12  # cannot be told, and is no matter
    assert found.verdict == "right"
    empty = params | {"empty": np.zeros((0, 2))}
    assert check_gradient(function, empty, key=KEY).verdict == "right"


def test_noise_is_not_called_wrong():
    """Rounded to float32 inside: the differences cannot tell."""

    def coarse(w):
        return jnp.sum(jnp.sin(w)).astype(jnp.float32).astype(jnp.float64)

    found = check_gradient(coarse, RNG.normal(size=5), key=KEY)
    assert found.verdict == "inconclusive"


def test_a_function_that_is_not_finite_is_inconclusive():
    found = check_gradient(lambda w: jnp.sum(jnp.log(w)), np.array(-1.0), key=KEY)
    assert found.verdict == "inconclusive"


def test_the_default_step_grows_with_the_parameters():
    found = check_gradient(
        lambda p: jnp.sum(jnp.sin(p["a"] / 1e6)) + jnp.sum(jnp.sin(p["b"])),
        {"a": np.full(2, 1e6), "b": np.ones(2)},
        key=KEY,
    )
    assert found.verdict == "right"
    assert found.leaves[0].step == 1e6 * found.leaves[1].step


def test_sweep_has_the_orders_and_the_minima():
    sweep = step_sweep(loss, PARAMS, key=KEY)
    assert 1e-9 < sweep.best_one_sided < 1e-6
    assert 1e-6 < sweep.best_two_sided < 1e-4
    coarse = step_sweep(loss, PARAMS, [1e-3, 1e-2], key=KEY)
    np.testing.assert_allclose(coarse.one_sided[1] / coarse.one_sided[0], 10, rtol=0.1)
    np.testing.assert_allclose(coarse.two_sided[1] / coarse.two_sided[0], 100, rtol=0.1)


def test_sweep_by_hand():
    """Of exp: h / 2 and h^2 / 6, relative to the slope, up or down alike."""
    sweep = step_sweep(jnp.exp, 1.3, [1e-3, 1e-4], key=KEY)
    np.testing.assert_allclose(sweep.one_sided, [5e-4, 5e-5], rtol=1e-3)
    np.testing.assert_allclose(sweep.two_sided, [1e-6 / 6, 1e-8 / 6], rtol=1e-2)


def test_sweep_of_a_wrong_gradient_levels_off():
    sweep = step_sweep(jnp.exp, 0.0, key=KEY, gradient=lambda w: 2 * jnp.exp(w))
    np.testing.assert_allclose(sweep.two_sided[20:30], 0.5, rtol=1e-4)


@pytest.mark.parametrize("function", [check_gradient, step_sweep])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"directions": 0}, "directions must be a positive integer, got 0"),
        ({"params": {"a": np.arange(3)}}, r"got int.. in params\['a'\]"),
        ({"params": {}}, "params must have entries"),
        ({"function": lambda w: w}, r"function must return \(\) in float64"),
        (
            {"function": lambda w: jnp.sum(w).astype(jnp.float32)},
            r"function must return \(\) in float64 .* got float32",
        ),
        ({"gradient": lambda w: w[:2]}, r"gradient must return .* \[\(2,\)\]"),
        ({"gradient": lambda w: (w,)}, "gradient must return a tree like params"),
    ],
)
def test_wrong_calls_say_what_is_wrong(function, changes, message):
    arguments = {"function": jnp.sum, "params": np.ones(3), "gradient": jnp.ones_like}
    with pytest.raises(ValueError, match=message):
        function(**(arguments | changes), key=KEY)


def test_wrong_steps_and_tolerances():
    for step in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="step must be > 0 and finite"):
            check_gradient(jnp.sum, np.ones(3), key=KEY, step=step)
    with pytest.raises(ValueError, match="tol must be > 0"):
        check_gradient(jnp.sum, np.ones(3), key=KEY, tol=0.0)
    for steps in ([], [[0.1]], [0.1, 0.0]):
        with pytest.raises(ValueError, match="steps must be a vector of positive"):
            step_sweep(jnp.sum, np.ones(3), steps, key=KEY)
