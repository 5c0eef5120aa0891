"""The tangent-kernel benchmark on tiny networks, without processes or peers."""

import jax
import numpy as np
import pytest

from benchmarks import ntk
from benchmarks._measure import Entry
from benchmarks._ntk import (
    floor,
    networks,
    problem,
    reference,
    with_jax,
    with_jaxdl,
)
from benchmarks._ntk.problem import CASES, Case
from benchmarks._processes import Tool

TINY = problem.make("tiny")


@pytest.fixture(scope="module")
def truth():
    before = jax.config.jax_enable_x64
    try:
        work, collect = reference.ROWS["truth"](reference.prepare(TINY), {})
        return collect(work())
    finally:
        jax.config.update("jax_enable_x64", before)


def test_the_problem_is_the_same_each_time_and_comes_back():
    again = problem.make("tiny")
    for name, array in TINY.items():
        np.testing.assert_array_equal(array, again[name])
        assert array.dtype == np.float32 or name == "scale"
    for name, loaded in problem.load(TINY).items():
        assert loaded.x1.shape == (loaded.network.n, *loaded.network.shape)
        assert not np.array_equal(loaded.x1, loaded.x2)
        (outputs,) = {loaded.network.apply(loaded.params, x).shape for x in loaded.x1}
        assert outputs == (3,), name


def test_the_reference_has_kernels_of_all_rows(truth):
    assert set(truth) == set(CASES)
    for row, kernel in truth.items():
        assert kernel.dtype == np.float64, row
        case = CASES[row]
        n = problem.load(TINY)[case.network].network.n
        assert kernel.shape == ((n, n) if case.outputs == "trace" else (n, n, 3, 3))
        if case.symmetric:
            swapped = kernel if kernel.ndim == 2 else kernel.swapaxes(2, 3)
            np.testing.assert_allclose(kernel, swapped.swapaxes(0, 1), rtol=1e-9)
    whole = np.einsum("abkk->ab", truth["lstm-full"]) / 3
    np.testing.assert_allclose(truth["lstm-trace"], whole, rtol=1e-12)


def test_two_convolutions_are_one():
    loaded = problem.load(TINY)["cnn"]
    for x in loaded.x1:
        np.testing.assert_allclose(
            reference.cnn_by_shifts(loaded.params, x),
            networks.cnn(loaded.params, x),
            rtol=2e-5,
        )


@pytest.mark.parametrize("tool", [with_jax, with_jaxdl])
@pytest.mark.parametrize(
    "row", ["mlp-trace", "cnn-trace-symmetric", "transformer-trace", "lstm-full"]
)
def test_rows_give_what_they_say(tool, row, truth):
    assert set(tool.ROWS) <= set(CASES)
    (setting,) = next(iter(tool.ladders(row, {}).values()))
    work, collect = tool.ROWS[row](tool.prepare(TINY), setting | {"seed": 0})
    verdict = ntk.judge(row, setting, [collect(work())], truth, [])
    assert verdict.good, verdict.note


def test_verdicts():
    exact = np.arange(12.0).reshape(3, 4)
    truth = {"row": exact}

    def verdict(kernel):
        return ntk.judge("row", {}, [{"kernel": kernel}], truth, [])

    assert verdict(exact * (1 + 9e-5)).good
    assert not verdict(exact * (1 + 2e-4)).good
    assert not verdict(exact * np.nan).good
    assert verdict(exact.T).note == "shape (4, 3), expected (3, 4)"


@pytest.mark.parametrize("name", ["mlp", "cnn", "transformer", "lstm"])
def test_the_floor_counts_all_kernels(name):
    network = networks.networks()[name]
    params = network.init(np.random.default_rng(0))
    kernels = sum(leaf.size for leaf in params.values() if leaf.ndim > 1)
    counted = sum(use.a * use.b for use in floor.uses(name)[0])
    head = [leaf for leaf in params.values() if leaf.ndim == 2 and leaf.shape[1] == 10]
    assert counted + head[0].size == kernels
    assert head[0].size == floor.head_size(name)
    assert floor.examples(name) == network.n


def test_the_floor_by_hand():
    forward = 512 * 2 * (784 * 512 + 512 * 512 + 512 * 10)
    backward = 512 * 10 * 2 * 512 * 512
    inputs = 256**2 * 2 * (784 + 512 + 512)
    slopes = 256**2 * 2 * 10 * (512 + 512)
    count = forward + backward + inputs + slopes
    assert floor.operations(Case("mlp", "trace")) == count
    assert floor.operations(Case("mlp", "full")) == count + 9 * slopes
    moved = 4 * (256**2 + 784 * 512 + 512 * 512 + 5120)
    moved += 4 * 2 * 512 * (784 + 10 * 512 + 512 + 512)
    assert floor.traffic(Case("mlp", "trace")) == moved
    slow = floor.floor(Case("mlp", "trace"), 1e9, 1e12)
    assert slow.seconds == count / 1e9
    assert floor.floor(Case("mlp", "trace"), 1e15, 1e6).seconds == moved / 1e6
    for name in ("mlp", "cnn", "transformer", "lstm"):
        both = floor.operations(Case(name, "full"))
        assert 0.5 < floor.operations(Case(name, "full", True)) / both < 0.516  # 33/64


def test_the_summary_is_of_the_choice_of_jaxdl_and_the_best_method():
    def entry(name, way, seconds, peak):
        return Entry(Tool(name, ""), way, {}, seconds=[seconds], peak=peak)

    rows = {row.name: row for row in ntk.BENCHMARK.rows}
    results = [
        (
            rows["mlp-trace"],
            [
                entry("jaxdl", "", 1.0, 10),
                entry("jaxdl", "jacobian", 0.1, 1),
                entry("neural-tangents", "", 4.0, 10),
                entry("jax", "", 500.0, 1),
            ],
        ),
        (
            rows["cnn-trace"],
            [
                entry("jaxdl", "", 1.0, 40),
                entry("neural-tangents", "", 1.0, 10),
                entry("jax", "", 0.5, 1),
            ],
        ),
    ]
    times, peaks, plain = ntk.summary(results)
    assert "geometric mean 0.50 over 2 rows, 0.25 to 1.00" in times
    assert "geometric mean 2.00 over 2 rows, 1.00 to 4.00" in peaks
    assert plain == (
        "784-512-512-10, n=256: trace: 500 times as fast as plain contraction"
    )
    assert ntk.summary([]) == []
