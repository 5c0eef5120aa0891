"""The benchmark of infinite width at tiny size, without processes or peers."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from benchmarks import ntk_infinite
from benchmarks._ntk_infinite import problem, reference, with_jaxdl

TINY = problem.make("tiny")
WIDE = reference.prepare(TINY)


@pytest.fixture(scope="module")
def truth():
    work, collect = reference.ROWS["truth"](WIDE, {})
    return collect(work())


@pytest.mark.parametrize("row", with_jaxdl.ROWS)
def test_rows_give_what_they_say(row, truth):
    (setting,) = with_jaxdl.ladders(row, {})[""]
    work, collect = with_jaxdl.ROWS[row](with_jaxdl.prepare(TINY), setting)
    answer = collect(work())
    verdict = ntk_infinite.judge(row, setting, [answer], truth, [])
    assert verdict.good, verdict.note
    for name in answer:
        broken = answer | {name: answer[name] * 1.002}
        assert not ntk_infinite.judge(row, setting, [broken], truth, []).good
        broken = answer | {name: answer[name] * np.nan}
        assert not ntk_infinite.judge(row, setting, [broken], truth, []).good
        broken = answer | {name: answer[name][:1]}
        note = ntk_infinite.judge(row, setting, [broken], truth, []).note
        assert f"{name} has shape" in note


def test_the_reference_flow_solves_its_equation():
    exact = reference.flow(WIDE)
    both = np.concatenate([WIDE["kernel"], WIDE["kernel_test"]]) / len(WIDE["y"])
    start = np.concatenate([WIDE["f"], WIDE["f_test"]])

    def velocity(_, f):
        f = f.reshape(start.shape)
        return (both @ (WIDE["y"] - f[: len(WIDE["y"])])).ravel()

    last = WIDE["times"][3]
    found = solve_ivp(velocity, (0, last), start.ravel(), rtol=1e-9, atol=1e-9).y[:, -1]
    expected = np.concatenate([exact["train"][3], exact["test"][3]])
    np.testing.assert_allclose(found.reshape(start.shape), expected, atol=1e-6)


def test_the_reference_kernels_are_those_of_wide_networks():
    rng = np.random.default_rng(0)
    x, width, draws = WIDE["conv-pool"][:2], 128, 60
    images, side = len(x), x.shape[1]
    sums = np.zeros((images, images))
    for _ in range(draws):
        h = x
        for _ in range(3):
            padded = np.pad(h, ((0, 0), (1, 1), (1, 1), (0, 0)))
            windows = [
                padded[:, i : i + side, j : j + side]
                for i in range(3)
                for j in range(3)
            ]
            patches = np.concatenate(windows, axis=-1)
            w = rng.normal(size=(patches.shape[-1], width)) / patches.shape[-1] ** 0.5
            b = rng.normal(size=width)
            h = np.maximum(problem.W_STD * patches @ w + problem.B_STD * b, 0)
        pooled = h.mean((1, 2))
        sums += pooled @ pooled.T / width
    expected = problem.W_STD**2 * sums / draws + problem.B_STD**2
    found = reference.kernels(problem.NETWORKS["conv-pool"], x)["nngp"]
    np.testing.assert_allclose(found, expected, rtol=0.1)
