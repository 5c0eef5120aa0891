"""The curvature benchmark on a tiny network, without processes or peers."""

import jax
import numpy as np
import pytest

from benchmarks import curvature
from benchmarks._curvature import (
    problem,
    with_jax,
    with_jax_linearize,
    with_jaxdl,
)
from jaxdl.curvature import hessian

SIZES = (6, 5, 4, 3)
TINY = problem.make(n=20, sizes=SIZES, steps=30)
SEED = {"seed": 0}


@pytest.fixture(scope="module")
def truth():
    params, batch, vector = with_jax.load(TINY)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda x: np.asarray(x, np.float64), (params, batch))
        matrix = np.asarray(hessian(with_jax.loss, *wide))
    values, vectors = np.linalg.eigh(matrix)
    return {
        "matrix": matrix,
        "product": matrix @ with_jax.flat(vector),
        "loss": float(with_jax.loss(params, batch)),
        "values": values[::-1],
        "vectors": vectors.T[::-1],
        "trace": np.trace(matrix),
        "facts": {"probes": 77},
        "residuals": lambda file: np.zeros(5),
    }


def answer(tool, row, setting):
    work, collect = tool.ROWS[row](tool.prepare(TINY), setting | SEED)
    return {name: np.asarray(x) for name, x in collect(work()).items()}


def test_the_problem_is_trained_and_the_same_each_time():
    again = problem.make(n=20, sizes=SIZES, steps=30)
    fresh = problem.make(n=20, sizes=SIZES, steps=0)
    for name, array in TINY.items():
        np.testing.assert_array_equal(array, again[name])
        assert array.dtype in (np.float32, np.int32)
    loss = [float(with_jax.loss(*with_jax.load(p)[:2])) for p in (fresh, TINY)]
    assert loss[1] < loss[0] - 0.1


def test_vectors_are_flattened_as_the_matrix_is(truth):
    leaves = problem.parameters(TINY)
    vector = np.arange(truth["matrix"].shape[0], dtype=np.float32)
    pieces = problem.split(vector, leaves)
    np.testing.assert_array_equal(problem.flatten(pieces), vector)
    stacks = [np.stack([x, 2 * x]) for x in pieces]
    np.testing.assert_array_equal(problem.flatten(stacks), [vector, 2 * vector])


@pytest.mark.parametrize("tool", [with_jax, with_jax_linearize, with_jaxdl])
def test_rows_give_what_they_say(tool, truth):
    found = answer(tool, "hvp", {})
    assert curvature.judge_product({}, [found], truth, [None]).good
    setting = {"steps": 20, "full": True, "tol": 1e-4, "search": True}
    found = answer(tool, "eigenpairs", setting)
    np.testing.assert_allclose(found["values"], truth["values"][:5], rtol=1e-3)
    overlaps = abs(np.sum(found["vectors"] * truth["vectors"][:5], axis=1))
    np.testing.assert_allclose(overlaps, 1, atol=1e-2)
    found = answer(tool, "density", {"steps": 5})
    np.testing.assert_allclose(np.sum(found["weights"]), 1, rtol=1e-4)
    setting = {"probes": 4000, "method": "hutchinson", "rtol": 0.02, "sketch": 0}
    found = answer(tool, "trace", setting)
    np.testing.assert_allclose(found["trace"], truth["trace"], rtol=0.08)


def test_verdicts(truth):
    top = truth["values"][:5]
    vectors = np.ones((5, 3))
    right, files = {"values": top, "vectors": vectors}, ["file"]
    assert curvature.judge_eigenpairs({}, [right], truth, files).good
    wrong = [top * 1.002, np.r_[top[0], top[:4]]]
    for values in wrong:  # too far off; a copy that is not there
        answers = [{"values": values, "vectors": vectors}]
        assert not curvature.judge_eigenpairs({}, answers, truth, files).good
    unsure = truth | {"residuals": lambda file: np.full(5, 2e-3 * top[0])}
    assert not curvature.judge_eigenpairs({}, [right], unsure, files).good
    nan = [{"values": top, "vectors": np.nan * vectors}]
    assert curvature.judge_eigenpairs({}, nan, truth, files).note == "NaN"

    traces = [{"trace": truth["trace"] * factor} for factor in (0.985, 1.015)]
    assert not curvature.judge_trace({}, traces, truth, []).good
    assert curvature.judge_trace({"probes": 77}, traces, truth, []).good
    good = [{"trace": truth["trace"] * factor} for factor in (0.995, 1.005)]
    assert curvature.judge_trace({}, good, truth, []).good
    silent = [found | {"says": False, "products": 9} for found in good]
    assert not curvature.judge_trace({}, silent, truth, []).good

    half = [{"weights": np.full(4, 0.1), "nodes": top[:1]}]
    assert not curvature.judge_density({}, half, truth, []).good
