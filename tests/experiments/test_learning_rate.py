"""The study at tiny size: its parts, its claims, its settings."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import (
    _rate_drops,
    _rate_network,
    _rate_quadratic,
    _rate_regimes,
    _rate_rules,
    learning_rate,
)
from jaxdl import data, optim

REGIMES = _rate_regimes.Config(dim=3, rates=12, steps=40, seeds=2)
DROPS = _rate_drops.Config(
    dim=3, kappa=20.0, early=20, late=120, steps=160, every=20, seeds=300
)
RULES = _rate_rules.Config(dim=3, kappa=20.0, steps=100, rates=8, seeds=200)
NETWORK = _rate_network.Config(
    n_train=40,
    hidden=(8,),
    batch_size=10,
    steps=40,
    rates=(0.01, 0.3, 30.0),
    seeds=2,
    ratios=(0.5, 1.0, 16.0),
    full_steps=20,
)
TINY = learning_rate.Config(regimes=REGIMES, drops=DROPS, rules=RULES, network=NETWORK)
KEY = jax.random.key(0)
PARTS = {
    "regimes": (_rate_regimes, REGIMES),
    "drops": (_rate_drops, DROPS),
    "rules": (_rate_rules, RULES),
    "network": (_rate_network, NETWORK),
}


def run(name, key=KEY, **changes):
    part, config = PARTS[name]
    return part.run(dataclasses.replace(config, **changes), key, lambda share: None)


@pytest.fixture(scope="module")
def result():
    return learning_rate.run(TINY)


def holds(findings, words):
    found = [f for f in findings if words in f.claim]
    assert found, words
    return all(f.holds for f in found)


def test_the_whole_study_runs_and_reports(result):
    findings = learning_rate.check(result)
    assert len({finding.claim for finding in findings}) == len(findings) > 25
    plots = learning_rate.plot(result)
    assert {*plots} == {
        *("regimes", "drops", "rules", "powers", "sweep", "edge_and_drop")
    }
    for drawn in plots.values():
        drawn.figure.draw_without_rendering()
    rows = list(learning_rate.metrics(result))
    assert {row["part"] for row in rows} == {*PARTS}
    assert len([row for row in rows if row["part"] == "network"]) == 8 * 3


def test_what_is_exact_holds_already_at_tiny_size(result):
    findings = learning_rate.check(result)
    for words in (
        "changes sign from a rate",
        "gradient descent diverges from",
        "every run of the sweep",
        "every iterate is",
        "the mean loss follows the recursion",
        "mean loss of each rule is that",
        "1 / (lambda t) is optimal",
        "in one dimension the mean loss",
        "in one dimension the loss falls",
        "certified by the residual",
    ):
        assert holds(findings, words), words
    assert result.drops.means.dtype == np.float64


def test_descent_replayed_in_numpy(result):
    part = result.regimes
    key = jax.random.split(KEY, 4)[0]
    with jax.enable_x64(True):
        x = np.asarray(jax.random.normal(key, (2, 3)))
    np.testing.assert_allclose(part.curvatures, [4, 4 / np.sqrt(20), 0.2])
    for row, rate in enumerate(part.rates):
        y = x.copy()
        for _ in range(40):
            y = y - rate * part.curvatures * y
        shrunk = np.linalg.norm(y, axis=1) / np.linalg.norm(x, axis=1)
        np.testing.assert_allclose(part.contraction[row] ** 40, shrunk, rtol=1e-10)


def test_wrong_boundaries_are_found(result):
    part = result.regimes
    wrong = dataclasses.replace(
        part,
        regimes=part.regimes[::-1],
        contraction=part.contraction[::-1],
        oscillates_from=part.oscillates_from * (1 + 1e-8),
        diverges_from=part.diverges_from * (1 - 1e-8),
        off=part.off + 1e-9,
    )
    assert [f.claim for f in _rate_regimes.check(wrong) if f.holds] == []
    tail = np.array([[1.0, 1.0], [0.5, 0.5], [0.2, 0.2]])
    assert _rate_regimes.regime(tail) == "monotone"
    assert _rate_regimes.regime(tail * [[1.0], [-1.0], [1.0]]) == "oscillating"
    assert _rate_regimes.regime(tail[::-1]) == "divergent"


def test_second_moments_by_hand():
    found = _rate_quadratic.second_moments(
        np.array([1.0, 0.5]),
        np.array([2.0, 1.0]),
        np.array([3.0, 1.0]),
        np.array([0.5, 1.0]),
    )
    # (1 - rate c)^2 m + rate^2 s^2: 9 / 4 + 1 and 9 / 16 + 1 / 4; then 4 and so on.
    np.testing.assert_allclose(found[1], [3.25, 0.8125])
    np.testing.assert_allclose(found[2], [4.0, 0.8125 / 4 + 1])
    np.testing.assert_allclose(
        _rate_quadratic.loss(np.array([1, 0.5]), found[1]), 1.828125
    )


def test_the_stationary_variance_is_the_fixed_point():
    c, noise = np.array([1.0, 0.2]), np.array([0.3, 0.1])
    v = _rate_drops.stationary_variance(0.5, c, noise)
    np.testing.assert_allclose(v, [0.03, 0.005 / 0.38])
    np.testing.assert_allclose((1 - 0.5 * c) ** 2 * v + (0.5 * noise) ** 2, v)


def test_a_noisy_run_replayed_in_numpy():
    curvatures, noise = np.array([1.0, 0.2]), np.array([0.3, 0.1])
    rates = np.linspace(0.5, 0.1, 6)
    with jax.enable_x64(True):
        path = np.asarray(
            _rate_quadratic.simulate(
                KEY, curvatures, noise, np.array([2.0, 1.0]), rates, 4, 2
            )
        )
        xi = [
            np.asarray(jax.random.normal(jax.random.fold_in(KEY, t), (4, 2)))
            for t in range(6)
        ]
    x = np.tile([2.0, 1.0], (4, 1))
    for t in range(6):
        x = x - rates[t] * (curvatures * x + noise * xi[t])
        if t % 2:
            np.testing.assert_allclose(path[(t + 1) // 2], x, rtol=1e-12)
    assert path.shape == (4, 4, 2)


def test_rules_by_hand():
    rules = _rate_quadratic.rules(100)
    assert [*rules] == [*_rate_quadratic.RULES]
    ends = {
        name: _rate_quadratic.values(rule(0.8), 100)[[0, 50, 99]]
        for name, rule in rules.items()
    }
    np.testing.assert_allclose(ends["constant"], 0.8)
    np.testing.assert_allclose(ends["step"], [0.8, 0.08, 0.008], rtol=1e-6)
    np.testing.assert_allclose(
        ends["exponential"], [0.8, 0.08, 0.8 * 0.01**0.99], rtol=1e-5
    )
    np.testing.assert_allclose(ends["inverse_time"], [0.8, 0.8 / 11, 0.8 / 20.8])
    np.testing.assert_allclose(
        ends["inverse_root"], 0.8 / np.sqrt([1, 11, 20.8]), rtol=1e-6
    )
    np.testing.assert_allclose(ends["linear"], [0.8, 0.4, 0.008], rtol=1e-5)
    np.testing.assert_allclose(
        ends["cosine"], 0.4 * (1 + np.cos(np.pi * np.array([0, 0.5, 0.99]))), atol=1e-6
    )
    np.testing.assert_allclose(
        ends["warm_cosine"][1:],
        0.4 * (1 + np.cos(np.pi * np.array([40, 89]) / 90)),
        atol=1e-6,
    )
    assert ends["warm_cosine"][0] == 0


def test_a_loss_beside_its_expectation_is_found(result):
    part = result.drops
    wrong = dataclasses.replace(
        part,
        variances=part.variances + 5 * part.variance_errors,
        deviations=part.deviations + 9,
        means=part.means[[1, 1, 1, 3]] * np.linspace(1, 3, 9),
    )
    assert [f.claim for f in _rate_drops.check(wrong) if f.holds] == []


def test_runs_that_never_cross_are_told_and_drawn(result):
    part = result.drops
    never = dataclasses.replace(part, exact=part.exact[[0, 0, 2, 3]])
    assert _rate_drops.crossing(never) == 0
    assert not holds(_rate_drops.check(never), "overtakes")
    _rate_drops.plot(never).figure.draw_without_rendering()


def test_the_crossing_is_that_of_the_recursion(result):
    part = result.drops
    c = np.geomspace(1, 1 / 20, 3)
    m = np.full((2, 3), 9.0)
    for t in range(1, 161):
        rate = np.array([[0.5], [0.5 if t <= 20 else 0.05]])
        m = (1 - rate * c) ** 2 * m + rate**2 * 0.04 * c
        np.testing.assert_allclose(part.exact[:2, t], m @ c / 2, rtol=1e-5)


def test_rules_that_do_not_help_are_found(result):
    part = result.rules
    wrong = dataclasses.replace(
        part,
        deviations=part.deviations + 9,
        exact=part.exact[::-1],
        best=part.best[::-1],
        one_exact=part.one_exact * 1.001,
        one_deviations=part.one_deviations + 9,
        far_slopes=part.far_slopes + 0.02,
        slopes=part.slopes + 5 * part.slope_errors + 0.2,
    )
    assert not any(f.holds for f in _rate_rules.check(wrong))


def test_the_best_rate_is_the_least_of_the_grid(result):
    part = result.rules
    c = np.geomspace(1, 1 / 20, 3)
    row = [*_rate_quadratic.RULES].index("linear")
    finals = []
    for rate in part.rates:
        m = np.full(3, 9.0)
        for t in range(100):
            a = rate * (1 - t / 100)
            m = (1 - a * c) ** 2 * m + a**2 * 0.04 * c
        finals.append(m @ c / 2)
    np.testing.assert_allclose(part.exact[row], finals, rtol=1e-4)
    assert part.best[row] == np.argmin(finals)


def test_the_network_is_trained_as_full_batch_descent_replayed():
    part = run("network", batch_size=40, rates=(0.01, 0.1, 0.3))
    keys = jax.random.split(KEY, 2)
    x, y = _rate_network._problems(NETWORK, keys)
    params = jax.tree.map(lambda a: a[1], _rate_network._initial(keys, (8,)))

    def loss(params):
        (w1, b1), (w2, b2) = params
        z = jnp.maximum(x[1] @ w1 + b1[None], 0) @ w2 + b2[None]
        return jnp.mean(jax.nn.logsumexp(z, 1) - z[jnp.arange(40), y[1]])

    np.testing.assert_allclose(part.before[1], loss(params), rtol=1e-5)
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    hessian = jax.jit(jax.hessian(lambda flat: loss(unravel(flat))))(flat)
    top = np.linalg.eigvalsh(hessian)[-1]
    np.testing.assert_allclose(part.sharpness[1], top, rtol=1e-3)
    gradient = jax.jit(jax.grad(loss))
    kept = dropped = params
    for t in range(40):
        kept = jax.tree.map(lambda w, g: w - 0.3 * g, kept, gradient(kept))
        moved = optim.sgd(0.3 if t < 10 else 0.03).update(gradient(dropped), ((),))[0]
        dropped = jax.tree.map(jnp.add, dropped, moved)
    np.testing.assert_allclose(part.curves[0, 2, 1, -1], loss(kept), rtol=1e-3)
    np.testing.assert_allclose(part.dropped[2, 1, -1], loss(dropped), rtol=1e-3)


def test_labels_are_redrawn_and_inputs_centred():
    config = dataclasses.replace(NETWORK, n_train=1000)
    x, y = _rate_network._problems(config, jax.random.split(KEY, 1))
    row_key = jax.random.split(jax.random.split(KEY, 1)[0], 4)[0]
    rows = np.asarray(jax.random.permutation(row_key, 1797))[:1000]
    np.testing.assert_allclose(x[0].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(x[0].std(), 1, rtol=1e-5)
    wrong = np.mean(y[0] != data.digits().y[rows])
    assert 0.21 < wrong < 0.33  # 0.27 expected, 4 s.e. are 0.06


def test_runs_that_diverge_are_told_and_drawn(result):
    part = result.network
    assert np.isinf(_rate_network.final(part)[0, -1])
    lost = dataclasses.replace(
        part,
        curves=part.curves * np.nan,
        full=part.full * np.nan,
        dropped=part.dropped * np.nan,
    )
    assert not _rate_network.trains(lost).any()
    claims = [f.claim for f in _rate_network.check(lost) if f.holds]
    assert len(claims) == 2
    assert "within a factor of two" in claims[0]  # all fail at half of it
    assert "certified" in claims[1]
    for drawn in _rate_network.plot(lost).values():
        drawn.figure.draw_without_rendering()


def shaped(finals, dropped, ratios_that_train):
    """A result of one seed with these final losses, ``(8, r)``."""
    records = np.linspace(0, 1, 20)
    finals = np.asarray(finals, float)
    curves = 3 + (finals[..., None, None] - 3) * records
    full = np.full((8, 1, 5), 3.0)
    full[:, 0, -1] = np.where(np.arange(8) < ratios_that_train, 1.0, np.nan)
    kept = curves[0]
    return _rate_network.Result(
        steps=np.arange(1, 21),
        rates=np.array([0.1, 0.2, 0.4]),
        curves=curves,
        dropped=kept * np.asarray(dropped)[None, None],
        before=np.array([3.0]),
        sharpness=np.array([2.0]),
        certified=np.array([True]),
        ratios=np.array([0.5, 1, 1.4, 2, 2.8, 4, 5.7, 8]),
        full=full,
    )


def test_good_networks_are_told_from_bad_ones():
    rules = np.tile([2.0, 0.9, 0.9], (7, 1))
    falls = np.linspace(0.8, 1.5, 20)
    good = shaped(np.vstack([[2.0, 1.0, 2.9], rules]), falls, 3)
    assert all(f.holds for f in _rate_network.check(good))
    bad = shaped(np.vstack([[0.8, 0.81, 0.82], rules]), falls[::-1], 1)
    bad = dataclasses.replace(bad, certified=~bad.certified)
    for words in (
        "lies inside the grid",
        "too small a rate is slow",
        "too large a rate does harm",
        "every rate up to 2 / sharpness",
        "some rates above",
        "certified",
        "the best decay rule",
        "every decay rule",
        "lowers the loss at once",
        "costs later",
    ):
        assert not holds(_rate_network.check(bad), words), words
    for trained in (7, 8):
        late = shaped(np.vstack([[2.0, 1.0, 2.9], rules]), falls, trained)
        assert not holds(_rate_network.check(late), "within a factor of two")
    rising = dataclasses.replace(good, curves=good.curves[..., ::-1])
    assert not holds(_rate_network.check(rising), "at nearly every record")


@pytest.mark.parametrize("name", PARTS)
def test_the_key_decides_the_result(name):
    first, again = run(name), run(name)
    other = run(name, key=jax.random.key(1))
    field = {
        "regimes": "contraction",
        "drops": "means",
        "rules": "means",
        "network": "curves",
    }[name]
    np.testing.assert_array_equal(getattr(first, field), getattr(again, field))
    assert not np.array_equal(getattr(first, field), getattr(other, field))


CHANGES = {
    "regimes": [
        {"dim": 2},
        {"largest": 1.0},
        {"kappa": 5.0},
        {"rates": 10},
        {"steps": 30},
        {"seeds": 1},
    ],
    "drops": [
        {"dim": 2},
        {"kappa": 10.0},
        {"noise": 0.1},
        {"start": 1.0},
        {"rate": 0.4},
        {"drop": 0.2},
        {"early": 40},
        {"late": 140},
        {"steps": 180},
        {"every": 10},
        {"seeds": 200},
    ],
    "rules": [
        {"dim": 2},
        {"kappa": 10.0},
        {"noise": 0.1},
        {"start": 1.0},
        {"steps": 150},
        {"rates": 7},
        {"seeds": 100},
    ],
    "network": [
        {"n_train": 30},
        {"label_noise": 0.0},
        {"hidden": (4,)},
        {"batch_size": 20},
        {"steps": 20},
        {"rates": (0.01, 0.2, 30.0)},
        {"seeds": 1},
        {"ratios": (0.5, 1.0, 8.0)},
        {"full_steps": 10},
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "change"),
    [(name, change) for name, changes in CHANGES.items() for change in changes],
)
def test_every_setting_matters(name, change):
    before, after = run(name), run(name, **change)
    assert any(
        not np.array_equal(getattr(before, f.name), getattr(after, f.name))
        for f in dataclasses.fields(before)
        if f.name not in change
    )


def test_no_setting_is_left_untested():
    for name, (_, config) in PARTS.items():
        changed = {field for change in CHANGES[name] for field in change}
        assert changed == {field.name for field in dataclasses.fields(config)}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: _rate_regimes.Config(dim=1), r"regimes\.dim must be >= 2, got 1"),
        (lambda: _rate_regimes.Config(largest=0.0), r"regimes\.largest must be > 0"),
        (lambda: _rate_regimes.Config(kappa=1.0), r"regimes\.kappa must be > 1"),
        (lambda: _rate_drops.Config(dim=1), r"drops\.dim must be >= 2"),
        (lambda: _rate_drops.Config(seeds=1), r"drops\.seeds must be >= 2"),
        (lambda: _rate_drops.Config(kappa=1.0), r"drops\.kappa must be > 1"),
        (lambda: _rate_drops.Config(noise=0.0), r"drops\.noise must be > 0"),
        (lambda: _rate_drops.Config(rate=2.0), r"drops\.rate must lie in \(0, 2\)"),
        (lambda: _rate_drops.Config(drop=1.0), r"drops\.drop must lie in \(0, 1\)"),
        (lambda: _rate_drops.Config(early=2600), r"drops\.early < late < steps"),
        (lambda: _rate_drops.Config(every=7), r"drops\.every=7 must divide early"),
        (lambda: _rate_rules.Config(rates=2), r"rules\.rates must be >= 3"),
        (lambda: _rate_rules.Config(steps=110), r"rules\.steps must be >= 100 and"),
        (lambda: _rate_rules.Config(seeds=50), r"rules\.seeds must be a multiple of"),
        (lambda: _rate_rules.Config(kappa=1.0), r"rules\.kappa must be > 1"),
        (lambda: _rate_rules.Config(start=0.0), r"rules\.start must be > 0"),
        (lambda: _rate_network.Config(seeds=0), r"network\.seeds must be >= 1"),
        (lambda: _rate_network.Config(batch_size=601), r"network\.batch_size must be"),
        (lambda: _rate_network.Config(steps=50), r"network\.steps must be a multiple"),
        (lambda: _rate_network.Config(hidden=()), r"network\.hidden must be positive"),
        (lambda: _rate_network.Config(label_noise=2.0), r"network\.label_noise must"),
        (lambda: _rate_network.Config(rates=(1.0, 0.5, 0.1)), r"network\.rates must"),
        (
            lambda: _rate_network.Config(ratios=(0.5, 2.0, 4.0)),
            r"ratios must include 1",
        ),
        (lambda: learning_rate.Config(seed=-1), "seed must lie in"),
    ],
)
def test_wrong_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_rate_of_a_table_is_the_rate_of_its_schedule():
    schedule = optim.exponential_decay(0.5, 0.1)
    table = _rate_quadratic.values(schedule, 5)
    np.testing.assert_allclose(table, [0.5 * np.exp(-0.1 * t) for t in range(5)])
