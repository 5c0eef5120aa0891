import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.landscape import (
    Axis,
    Group,
    Move,
    Symmetry,
    act,
    assign,
    assign_on_device,
    check_symmetry,
    identity_element,
    leaf_names,
    match_activations,
    match_weights,
    match_weights_on_device,
    mlp_symmetry,
    random_element,
)
from jaxdl.models import mlp
from tests.landscape import networks

KEY = jax.random.key(0)


def inner(a, b):
    leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return sum(np.vdot(np.asarray(x, float), np.asarray(y, float)) for x, y in leaves)


def brute_force(a, b, signs):
    """The best of all elements of a network with two hidden layers, in NumPy."""
    (wa, ba), (va, ca), (ua, da) = [[np.asarray(x, float) for x in y] for y in a]
    (wb, bb), (vb, cb), (ub, db) = [[np.asarray(x, float) for x in y] for y in b]

    def all_moves(m):
        for p in itertools.permutations(range(m)):
            for s in itertools.product((1, -1), repeat=m if signs else 0):
                yield list(p), np.array(s or [1] * m)

    best = -np.inf
    for p, s in all_moves(len(ba)):
        value = np.sum(wa * wb[:, p] * s) + np.sum(ba * bb[p] * s)
        for q, r in all_moves(len(ca)):
            v = vb[p][:, q] * s[:, None] * r
            more = np.sum(va * v) + np.sum(ca * cb[q] * r)
            more += np.sum(ua * ub[q] * r[:, None])
            best = max(best, value + more)
    return best + np.sum(da * db)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [("gelu", (3, 4, 5, 2)), ("relu", (3, 5, 4, 2)), ("tanh", (3, 2, 3, 2))],
)
@pytest.mark.parametrize("seed", [0, 2])
def test_the_optimum_of_small_networks(name, sizes, seed):
    a, b = (networks.layers(sizes, seed=s, dtype=np.float64) for s in (seed, seed + 1))
    symmetry = mlp_symmetry(a, name)
    found = match_weights(symmetry, a, b)
    assert found.optimal
    expected = brute_force(a, b, name == "tanh")
    np.testing.assert_allclose(found.objective, expected, rtol=1e-12)
    with jax.enable_x64(True):
        moved = act(symmetry, found.element, b)
    np.testing.assert_allclose(inner(a, moved), expected, rtol=1e-12)
    assert found.starts[-1].name == "exhaustive"
    assert max(start.objective for start in found.starts) == found.objective


def test_coordinate_descent_alone_can_miss_it():
    missed = 0
    for seed in range(12):
        a, b = (networks.layers((3, 3, 4, 2), seed=s) for s in (seed, 100 + seed))
        found = match_weights(mlp_symmetry(a, "tanh"), a, b)
        by_name = {start.name: start.objective for start in found.starts}
        missed += by_name["identity"] < found.objective - 1e-3
        for start in found.starts:
            assert start.objective >= start.first - 1e-5
            assert start.converged
    assert 0 < missed < 12


def test_one_hidden_layer_is_solved_at_once():
    a, b = (networks.layers((5, 37, 3), seed=s) for s in (0, 1))
    found = match_weights(mlp_symmetry(a, "tanh"), a, b)
    assert found.optimal
    (start,) = found.starts
    assert (start.name, start.sweeps) == ("exhaustive", 1)


PLANTED = {
    "mlp": (
        networks.layers((10, 37, 21, 5)),
        mlp_symmetry(networks.layers((10, 37, 21, 5)), "gelu"),
    ),
    "mlp signs": (
        networks.layers((10, 37, 21, 5)),
        mlp_symmetry(networks.layers((10, 37, 21, 5)), "tanh"),
    ),
    "residual": (
        networks.residual_params(26, 33, 3),
        networks.residual_symmetry(26, 33, 3),
    ),
    "residual signs": (
        networks.residual_params(26, 33, 3),
        networks.residual_symmetry(26, 33, 3, signs=True),
    ),
    "recurrent": (networks.recurrent_params(21), networks.recurrent_symmetry(21)),
    "conv": (networks.conv_params(13, 18), networks.conv_symmetry(13, 18)),
}


def equal(found, planted):
    for name, (permutation, factor) in planted.items():
        if permutation is not None:
            np.testing.assert_array_equal(found[name].permutation, permutation)
        if factor is not None:
            np.testing.assert_allclose(found[name].factor, factor, rtol=1e-4)


@pytest.mark.parametrize("noise", [0, 0.3])
@pytest.mark.parametrize("name", PLANTED)
def test_planted_elements_are_recovered(name, noise):
    params, symmetry = PLANTED[name]
    rng = np.random.default_rng(0)
    near = jax.tree.map(
        lambda x: x + noise * np.std(x) * rng.normal(size=x.shape).astype(x.dtype),
        params,
    )
    for seed in range(3):
        planted = random_element(jax.random.key(seed), symmetry, spread=0.0)
        found = match_weights(symmetry, act(symmetry, planted, near), params)
        equal(found.element, planted)
        assert found.starts[0].name == "signatures"
        assert found.starts[0].objective == found.objective


def test_residual_networks_need_the_signatures():
    params, symmetry = PLANTED["residual signs"]
    reached = {"signatures": 0, "identity": 0}
    for seed in range(5):
        planted = random_element(jax.random.key(seed), symmetry)
        moved = act(symmetry, planted, params)
        found = match_weights(symmetry, moved, params)
        assert not found.optimal
        for start in found.starts:
            if start.name in reached:
                reached[start.name] += start.objective > 0.999 * inner(moved, moved)
    assert reached["identity"] < reached["signatures"] == 5


def test_signatures_tell_the_sign_of_a_unit_by_the_order_of_its_weights():
    symmetry = Symmetry(
        {"h": Group(9, signs=True), "g": Group(8)},
        [Axis("w", 0, "h", power=1), Axis("w", 1, "g")],
    )
    params = networks.normal({"w": (9, 8)})
    for seed in range(4):
        planted = random_element(jax.random.key(seed), symmetry)
        moved = act(symmetry, planted, params)
        found = match_weights(symmetry, moved, params, exhaustive=0)
        equal(found.element, planted)
        np.testing.assert_allclose(
            found.starts[0].first, inner(moved, moved), rtol=1e-6
        )


def test_random_and_given_starts():
    params, symmetry = PLANTED["residual"]
    planted = random_element(KEY, symmetry)
    moved = act(symmetry, planted, params)
    found = match_weights(
        symmetry, moved, params, key=KEY, random_starts=3, starts=[planted]
    )
    names = [start.name for start in found.starts]
    assert names == ["signatures", "identity", "reversed", "given", *["random"] * 3]
    np.testing.assert_allclose(found.starts[3].first, inner(moved, moved), rtol=1e-5)
    firsts = {start.first for start in found.starts[4:]}
    assert len(firsts) == 3
    again = match_weights(symmetry, moved, params, key=KEY, random_starts=3)
    assert {start.first for start in again.starts[3:]} == firsts
    other = jax.random.key(1)
    again = match_weights(symmetry, moved, params, key=other, random_starts=3)
    assert not firsts & {start.first for start in again.starts[3:]}


@pytest.mark.parametrize("name", ["mlp", "conv"])
def test_planted_scales_are_recovered_on_balanced_weights(name):
    params, symmetry = PLANTED[name]
    if name == "mlp":
        symmetry = mlp_symmetry(params, "relu")
    planted = random_element(KEY, symmetry, spread=1.0)
    moved = act(symmetry, planted, params)
    found = match_weights(symmetry, moved, params, balance=True)
    equal(found.element, planted)
    again = act(symmetry, found.element, params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3), again, moved)


def test_statistics_move_but_do_not_count():
    params, symmetry = PLANTED["conv"]
    spoiled = dict(params) | {
        "bn0": params["bn0"] | {"mean": 1e6 * params["bn0"]["mean"][::-1]}
    }
    planted = random_element(KEY, symmetry, spread=0.0)
    found = match_weights(symmetry, act(symmetry, planted, params), spoiled)
    equal(found.element, planted)
    weights = [x for n, x in leaf_names(params).items() if n not in symmetry.statistics]
    np.testing.assert_allclose(found.objective, inner(weights, weights), rtol=1e-6)


def test_signs_that_follow_another_group():
    """Batch normalization's gain and shift may change sign with what comes after."""
    symmetry = Symmetry(
        {
            "h": Group(8, signs=True),
            "mirror": Group(8, permutes=False, signs=True, follows="h"),
        },
        [
            Axis("w", 1, "h", 1),
            Axis("gain", 0, "h"),
            Axis("shift", 0, "h", 1),
            Axis("out", 0, "h", -1),
            Axis("gain", 0, "mirror", 1),
            Axis("shift", 0, "mirror", 1),
            Axis("out", 0, "mirror", -1),
        ],
    )
    params = networks.normal({"w": (3, 8), "gain": 8, "shift": 8, "out": (8, 2)})

    def apply(params, x):
        return (
            jnp.tanh(x @ params["w"] * params["gain"] + params["shift"]) @ params["out"]
        )

    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    assert check_symmetry(apply, params, symmetry, x, KEY, draws=2).holds
    for seed in range(4):
        planted = random_element(jax.random.key(seed), symmetry)
        moved = act(symmetry, planted, params)
        for exhaustive in (0, 5040):
            found = match_weights(symmetry, moved, params, exhaustive=exhaustive)
            again = act(symmetry, found.element, params)
            np.testing.assert_allclose(found.objective, inner(moved, again), rtol=1e-5)
        assert found.optimal
        jax.tree.map(np.testing.assert_array_equal, again, moved)


def test_the_result_does_not_depend_on_precision_or_library():
    a, b = (networks.layers((6, 13, 11, 3), seed=s) for s in (0, 1))
    symmetry = mlp_symmetry(a, "gelu")
    single = match_weights(symmetry, a, b)
    wide = [jax.tree.map(lambda x: x.astype(np.float64), p) for p in (a, b)]
    double = match_weights(symmetry, *wide)
    np.testing.assert_allclose(single.objective, double.objective, rtol=1e-6)
    with jax.enable_x64(True):
        moved = act(symmetry, double.element, wide[1])
    np.testing.assert_allclose(double.objective, inner(wide[0], moved), rtol=1e-13)


on_device = jax.jit(match_weights_on_device)


@pytest.mark.parametrize("name", ["residual", "recurrent"])
def test_the_device_does_as_the_host(name):
    _, symmetry = PLANTED[name]
    make = {
        "residual": networks.residual_params,
        "recurrent": networks.recurrent_params,
    }
    params = PLANTED[name][0]
    sizes = {"residual": (26, 33, 3), "recurrent": (21,)}[name]
    other = make[name](*sizes, seed=5)
    start = random_element(KEY, symmetry)
    found = on_device(symmetry, params, other, start)
    host = match_weights(symmetry, params, other, starts=[start])
    (given,) = [s for s in host.starts if s.name == "given"]
    np.testing.assert_allclose(found.objective, given.objective, rtol=1e-5)
    assert found.converged
    moved = act(symmetry, found.element, other)
    np.testing.assert_allclose(inner(params, moved), found.objective, rtol=1e-5)


def test_many_starts_on_the_device():
    params, symmetry = PLANTED["mlp signs"]
    planted = random_element(jax.random.key(9), symmetry)
    moved = act(symmetry, planted, params)
    keys = jax.random.split(KEY, 3)
    starts = jax.vmap(random_element, (0, None))(keys, symmetry)
    many = jax.jit(jax.vmap(match_weights_on_device, (None, None, None, 0)))
    found = many(symmetry, moved, params, starts)
    best = int(np.argmax(found.objective))
    equal(jax.tree.map(lambda x: x[best], found.element), planted)
    one = on_device(symmetry, moved, params, jax.tree.map(lambda x: x[0], starts))
    np.testing.assert_allclose(found.objective[0], one.objective, rtol=1e-5)


def test_assignment():
    rng = np.random.default_rng(0)
    for m in (1, 2, 7):
        scores = rng.normal(size=(m, m)).astype(np.float32)
        best = max(
            sum(scores[i, p[i]] for i in range(m))
            for p in itertools.permutations(range(m))
        )
        for solve in (assign, assign_on_device):
            order = np.asarray(solve(scores))
            np.testing.assert_allclose(
                scores[np.arange(m), order].sum(), best, rtol=1e-5
            )


X = np.random.default_rng(3).normal(size=(50, 10)).astype(np.float32)


def activations(params, activation):
    return jax.vmap(
        lambda x: mlp.apply_with_activations(params, x, activation=activation)[1]
    )(X)


@pytest.mark.parametrize("correlation", [False, True])
@pytest.mark.parametrize("name", ["mlp", "mlp signs"])
def test_activations_recover_what_is_planted(name, correlation):
    params, symmetry = PLANTED[name]
    planted = random_element(KEY, symmetry)
    activation = jnp.tanh if name == "mlp signs" else jax.nn.gelu
    of_b = activations(params, activation)
    of_a = activations(act(symmetry, planted, params), activation)
    found = match_activations(symmetry, of_a, of_b, correlation=correlation)
    equal(found.element, planted)
    assert found.optimal
    expected = sum(np.sum(np.asarray(a, float) ** 2) for a in of_a)
    if correlation:
        expected = 37 + 21
    np.testing.assert_allclose(found.objective, expected, rtol=1e-5)


def test_activations_recover_scales():
    params = PLANTED["mlp"][0]
    symmetry = mlp_symmetry(params, "relu")
    planted = random_element(KEY, symmetry)
    of_b = activations(params, jax.nn.relu)
    of_a = activations(act(symmetry, planted, params), jax.nn.relu)
    found = match_activations(
        symmetry,
        {"hidden0": of_a[0], "hidden1": of_a[1]},
        {"hidden1": of_b[1], "hidden0": of_b[0]},
        correlation=True,
        scales=True,
    )
    for name, b in zip(planted, of_b, strict=True):
        alive = np.asarray(b).any(0)
        assert alive.sum() > 0.7 * alive.size
        order, factor = found.element[name]
        np.testing.assert_allclose(
            factor[alive], planted[name].factor[alive], rtol=1e-4
        )
        assert (order != planted[name].permutation).sum() <= 2 * (~alive).sum()


def test_activations_of_images_and_the_best_of_all_pairings():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 3, 2, 2, 4))
    symmetry = Symmetry({"c": Group(4)}, [])
    found = match_activations(symmetry, [a], [b])
    flat = a.reshape(-1, 4), b.reshape(-1, 4)
    best = max(
        np.sum(flat[0] * flat[1][:, p]) for p in itertools.permutations(range(4))
    )
    np.testing.assert_allclose(found.objective, best)


def test_a_unit_that_never_changes_matches_without_nan():
    symmetry = Symmetry({"h": Group(3, scales=True)}, [])
    a = np.array([[1.0, 0, 2], [0, 0, 1], [0, 0, 3]])
    found = match_activations(
        symmetry, [a], [a[:, ::-1]], correlation=True, scales=True
    )
    np.testing.assert_array_equal(found.element["h"].permutation, [2, 1, 0])
    np.testing.assert_allclose(found.element["h"].factor, 1)


PARAMS, SYMMETRY = PLANTED["mlp"]
BROKEN = (PARAMS[0]._replace(bias=PARAMS[0].bias * np.nan), *PARAMS[1:])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: match_weights(SYMMETRY, PARAMS, PARAMS[:2]), "params_b must have"),
        (
            lambda: match_weights(SYMMETRY, PARAMS, networks.layers((9, 37, 21, 5))),
            "params_b must have the shapes of params_a",
        ),
        (
            lambda: match_weights(SYMMETRY, BROKEN, PARAMS),
            "params_a must be finite, got NaN or infinity in '0/bias'",
        ),
        (
            lambda: match_weights(SYMMETRY, PARAMS, PARAMS, random_starts=2),
            "must come with a key",
        ),
        (
            lambda: match_weights(SYMMETRY, PARAMS, PARAMS, key=KEY, random_starts=-1),
            "random_starts must be",
        ),
        (
            lambda: match_weights(SYMMETRY, PARAMS, PARAMS, max_sweeps=0),
            "max_sweeps must be",
        ),
        (
            lambda: match_weights_on_device(
                SYMMETRY, PARAMS, PARAMS, identity_element(SYMMETRY), max_sweeps=0
            ),
            "max_sweeps must be",
        ),
        (
            lambda: match_weights_on_device(
                Symmetry({"h": Group(37, permutes=False, signs=True)}, []),
                PARAMS,
                PARAMS,
                {"h": Move(None, jnp.ones(37))},
            ),
            "has signs and must permute",
        ),
        (lambda: match_activations(SYMMETRY, [X], [X]), "activations_a must be one"),
        (
            lambda: match_activations(SYMMETRY, {"hidden0": X}, {"hidden0": X}),
            r"activations_a\['hidden0'\] must be \(n, ..., 37\)",
        ),
        (
            lambda: match_activations(SYMMETRY, {}, {}),
            "activations_a must have 'hidden0'",
        ),
        (
            lambda: match_activations(Symmetry({"h": Group(10)}, []), [X], [X[:4]]),
            "must be as those of a",
        ),
        (lambda: assign(np.ones((2, 3))), "must be a square matrix"),
        (lambda: assign(np.full((2, 2), np.nan)), "must be finite"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()
