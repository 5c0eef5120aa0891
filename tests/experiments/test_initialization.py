"""The study at tiny size: its parts, its claims, its settings."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special

from experiments import _init_exact, _init_signal, _init_training, initialization
from jaxdl import nn

SIGNAL = _init_signal.Config(width=16, networks=8)
EXACT = _init_exact.Config(
    hidden=8, steps=20, width=6, depth=4, narrow=(2, 3), networks=200, inputs=4
)
TRAINING = _init_training.Config(
    depths=(2, 3), variances=(1.0, 2.0), width=5, n_train=40, batch_size=20, steps=4
)
TINY = initialization.Config(signal=SIGNAL, exact=EXACT, training=TRAINING)
KEY = jax.random.key(0)
PARTS = {
    "signal": (_init_signal, SIGNAL),
    "exact": (_init_exact, EXACT),
    "training": (_init_training, TRAINING),
}


def run(name, key=KEY, **changes):
    part, config = PARTS[name]
    return part.run(dataclasses.replace(config, **changes), key, lambda share: None)


@pytest.fixture(scope="module")
def result():
    return initialization.run(TINY)


def holds(findings, words):
    (finding,) = [f for f in findings if words in f.claim]
    return finding.holds


def test_the_whole_study_runs_and_reports(result):
    findings = initialization.check(result)
    assert len({finding.claim for finding in findings}) == len(findings) > 30
    plots = initialization.plot(result)
    assert {*plots} == {"signal", "fluctuations", "exact", "trainable", "against_chi"}
    for drawn in plots.values():
        drawn.figure.draw_without_rendering()
    rows = list(initialization.metrics(result))
    assert {row["part"] for row in rows} == {*PARTS}
    assert len([row for row in rows if row["part"] == "training"]) == 2 * 2 * 2 * 2


def test_what_is_exact_holds_already_at_tiny_size(result):
    findings = initialization.check(result)
    for words in (
        "identical units stay identical",
        "all weights zero, tanh",
        "none of them has learned",
        "output bias does learn",
        "fills its range",
        "orthogonal weights keep every length",
        "Gaussian ones do not",
        "identity weights with tanh",
        "identity weights with ReLU",
        "dead on a given input",
        "no more often than on one",
        "nor less often",
        "the recursion gives",
        "decays as 1 / (2 l)",
    ):
        assert holds(findings, words), words


def test_the_recursion_against_adaptive_quadrature():
    case = _init_signal.CASES[-1]
    squares, gradients, chi = _init_signal.recursion(case, 3)

    def expectation(f, variance):
        return integrate.quad(
            lambda z: f(math.sqrt(variance) * z) * math.exp(-z * z / 2), -12, 12
        )[0] / math.sqrt(2 * math.pi)

    q, slopes = 1.0, []
    for layer in range(3):
        variance = 2.5 * q + 0.05
        slopes.append(expectation(lambda x: math.cosh(x) ** -4, variance))
        q = expectation(lambda x: math.tanh(x) ** 2, variance)
        np.testing.assert_allclose(squares[layer], q, rtol=1e-5)
    np.testing.assert_allclose(chi, 2.5 * np.array(slopes), rtol=1e-5)
    np.testing.assert_allclose(gradients[0], 2.5**2 * np.prod(slopes), rtol=1e-5)


def test_the_recursion_by_hand():
    he, _, xavier, *_ = _init_signal.CASES
    squares, gradients, chi = _init_signal.recursion(he, 4)
    np.testing.assert_allclose(squares, 1, rtol=1e-12)
    np.testing.assert_allclose(gradients, 0.5, rtol=1e-12)
    np.testing.assert_allclose(chi, 1, rtol=1e-12)
    squares, gradients, _ = _init_signal.recursion(xavier, 4)
    np.testing.assert_allclose(squares, [1 / 2, 1 / 4, 1 / 8, 1 / 16], rtol=1e-12)
    np.testing.assert_allclose(gradients[::-1], squares, rtol=1e-12)


def test_a_network_is_measured_as_in_numpy():
    case = _init_signal.CASES[-1]
    squares, gradients = _init_signal._measure(case, 7, 3, KEY[None])
    input_key, kernel_key, bias_key, output_key = jax.random.split(KEY, 4)
    x = np.asarray(jax.random.normal(input_key, (7,)))
    x = x / np.sqrt(np.mean(x**2))
    kernels = [
        np.asarray(case.initializer(k, (7, 7), 7, 7))
        for k in jax.random.split(kernel_key, 3)
    ]
    biases = math.sqrt(0.05) * np.asarray(jax.random.normal(bias_key, (3, 7)))
    units = []
    for kernel, bias in zip(kernels, biases, strict=True):
        x = np.tanh(x @ kernel + bias)
        units.append(x)
    delta = np.asarray(jax.random.normal(output_key, (7,)))
    signals = []
    for layer in (2, 1, 0):
        delta = delta * (1 - units[layer] ** 2)
        signals.append(np.mean(delta**2))
        delta = kernels[layer] @ delta
    np.testing.assert_allclose(squares[0], [np.mean(u**2) for u in units], rtol=1e-4)
    np.testing.assert_allclose(gradients[0], signals[::-1], rtol=1e-4)


def test_the_limit_of_infinite_width():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(2, 1000, 1)) * 0.1
    values = 3 + np.array([1 / 8, 1 / 16])[:, None, None] + noise
    limit, error = _init_signal.at_infinity(values, np.array([8, 16]))
    np.testing.assert_allclose(error, 0.1 * math.sqrt(5 / 1000), rtol=0.1)
    assert abs(limit - 3) < 4 * error


def test_the_second_moment_by_simulation():
    """Width 2, two layers: (1 + 5/2)^2."""
    rng = np.random.default_rng(0)
    x = np.full((400_000, 2), 1.0)
    for _ in range(2):
        weights = rng.normal(size=(len(x), 2, 2))
        x = np.maximum(np.einsum("ni,nij->nj", x, weights), 0)
    moment = np.mean(x**2, 1) ** 2
    expected = _init_signal.second_moment(2, 2)[-1]
    assert expected == 3.5**2
    assert abs(moment.mean() - expected) < 4 * moment.std() / math.sqrt(len(x))


def test_doctored_signals_are_found(result):
    part = result.signal
    assert not any(
        f.holds
        for f in _init_signal.check(
            dataclasses.replace(
                part,
                squares=part.squares + np.arange(1, 3)[:, None, None] * 3,
                gradients=part.gradients + np.arange(1, 3)[:, None, None] * 1e3,
                theory=part.theory * 1.01,
            )
        )
        if "strays less" not in f.claim
    )
    wild = part.squares.copy()
    wild[1, 1, :, -1] = np.arange(8) * 100
    findings = _init_signal.check(dataclasses.replace(part, squares=wild))
    assert not holds(findings, "strays less")


def test_doctored_exact_results_are_found(result):
    part = result.exact
    wrong = dataclasses.replace(
        part,
        unit_difference=1e-9,
        identical_loss=part.random_loss,
        zero_gradient=1e-9,
        zero_moved=1e-9,
        bias_moved=0.0,
        bound_ratio=0.99,
        orthogonal=part.orthogonal * 1.001,
        log_gaussian=part.log_gaussian + 1,
        identity_error=1e-3,
        relu_identity_error=1e-9,
        dead_one=part.dead_one * 0,
        dead_all=part.dead_one * 0 - 0.1,
    )
    failing = [f.claim for f in _init_exact.check(wrong) if f.holds]
    assert failing == [f.claim for f in _init_exact.check(part) if "no more" in f.claim]
    wrong = dataclasses.replace(part, dead_all=part.dead_one + 0.1)
    assert not holds(_init_exact.check(wrong), "no more often")


def test_dead_networks_by_hand():
    np.testing.assert_allclose(_init_exact.dead_probability(1, 2), [0.5, 0.75])
    np.testing.assert_allclose(_init_exact.dead_bound(1, 3), [0, 0.5, 0.75])
    np.testing.assert_allclose(_init_exact.dead_probability(3, 1), [1 / 8])


def test_the_gamma_functions():
    x = np.arange(1, 60) / 2
    np.testing.assert_allclose(_init_exact._digamma(x), special.digamma(x), rtol=1e-12)
    np.testing.assert_allclose(
        _init_exact._trigamma(x), special.polygamma(1, x), rtol=1e-12
    )


def trained(accuracy):
    """A result with one accuracy a depth and variance, both activations alike."""
    accuracy = np.broadcast_to(
        np.asarray(accuracy, float)[None, ..., None], (2, 2, 3, 1)
    )
    return _init_training.Result(
        np.array([4, 8]),
        np.array([0.5, 1.0, 2.0]),
        10,
        accuracy,
        np.array([[[-2, 0, 2], [-4, 0, 4]], [[-4, -2, 0], [-8, -4, 0]]]),
    )


def test_who_learns_is_told_from_who_does_not():
    good = trained([[1, 1, 1], [0, 1, 0]])
    np.testing.assert_array_equal(_init_training.deepest(good)[0], [4, 8, 4])
    assert _init_training.separation(good)[0] == 1.0
    findings = _init_training.check(good)
    assert all(f.holds for f in findings if f.claim.startswith("tanh"))
    assert not holds(findings, "relu: depth is limited least at variance 2 ")
    bad = _init_training.check(trained([[1, 0, 1], [1, 0, 1]]))
    assert not any(f.holds for f in bad if f.claim.startswith("tanh"))
    assert not holds(bad, "relu: below that")
    same = _init_training.check(trained(np.ones((2, 3))))
    assert not holds(same, "tanh: networks learn")


def test_a_deep_network_is_the_one_it_says():
    params = _init_training._initial(
        3, 4, jax.random.split(KEY, 2), jnp.array([1.0, 2.0])
    )
    assert params.hidden.kernel.shape == (2, 2, 4, 4)
    one = jax.tree.map(lambda leaf: leaf[1], params)
    x = np.random.default_rng(0).normal(size=64).astype(np.float32)
    expected = np.tanh(x @ one.first.kernel)
    for kernel in one.hidden.kernel:
        expected = np.tanh(expected @ kernel)
    got = _init_training._APPLY["tanh"](one, jnp.asarray(x))
    np.testing.assert_allclose(got, expected @ one.last.kernel, rtol=1e-4, atol=1e-5)
    wide = _init_training._initial(3, 200, KEY[None], jnp.array([2.0]))
    np.testing.assert_allclose(np.var(wide.hidden.kernel), 4 / 200, rtol=0.05)
    np.testing.assert_allclose(np.var(wide.first.kernel), 4 / 64, rtol=0.05)
    np.testing.assert_allclose(np.var(wide.last.kernel), 1 / 200, rtol=0.2)


def test_runs_that_diverge_are_drawn():
    with pytest.warns(RuntimeWarning, match="not finite"):
        part = run("training", learning_rate=1e30)
    assert (part.accuracy[1] == 0).all()
    _init_training.check(part)
    for drawn in _init_training.plot(part).values():
        drawn.figure.draw_without_rendering()


@pytest.mark.parametrize("name", PARTS)
def test_the_key_decides_the_result(name, result):
    first, other = run(name), run(name, key=jax.random.key(1))
    again = run(name)
    field = {"signal": "squares", "exact": "dead_one", "training": "accuracy"}[name]
    np.testing.assert_array_equal(getattr(first, field), getattr(again, field))
    assert not np.array_equal(getattr(first, field), getattr(other, field))


CHANGES = {
    "signal": [{"width": 8}, {"depth": 31}, {"networks": 4}],
    "exact": [
        {"hidden": 4},
        {"steps": 10},
        {"width": 5},
        {"depth": 3},
        {"narrow": (2,)},
        {"networks": 100},
        {"inputs": 8},
    ],
    "training": [
        {"depths": (2, 4)},
        {"variances": (0.5, 1.0, 2.0)},
        {"width": 4},
        {"n_train": 30},
        {"batch_size": 10},
        {"steps": 6},
        {"learning_rate": 0.02},
        {"seeds": 1},
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
    )


def test_no_setting_is_left_untested():
    for name, (_, config) in PARTS.items():
        changed = {field for change in CHANGES[name] for field in change}
        assert changed == {field.name for field in dataclasses.fields(config)}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: _init_signal.Config(width=4), r"signal\.width must be >= 8"),
        (lambda: _init_signal.Config(depth=29), r"signal\.depth must be >= 30"),
        (lambda: _init_signal.Config(networks=1), r"signal\.networks must be >= 2"),
        (lambda: _init_exact.Config(hidden=1), r"exact\.hidden must be >= 2"),
        (lambda: _init_exact.Config(narrow=()), r"exact\.narrow must be positive"),
        (lambda: _init_training.Config(steps=0), r"training\.steps must be >= 1"),
        (lambda: _init_training.Config(batch_size=999), r"training\.batch_size"),
        (lambda: _init_training.Config(depths=(4, 2)), r"training\.depths must be asc"),
        (lambda: _init_training.Config(variances=(1.0, 3.0)), "must hold 1 and 2"),
        (lambda: _init_training.Config(learning_rate=0.0), r"training\.learning_rate"),
        (lambda: initialization.Config(seed=-1), "seed must lie in"),
    ],
)
def test_wrong_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_initializers_have_the_variances_their_cases_say():
    for case in _init_signal.CASES:
        draws = np.asarray(case.initializer(KEY, (200, 200), 200, 200, float))
        np.testing.assert_allclose(200 * draws.var(), case.weight_variance, rtol=0.05)
    assert nn.activation(_init_signal.CASES[0].activation) is jax.nn.relu
