"""Numbers of a sweep: those of a plain loop, and the same bits each time."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import sweep
from jaxdl.sweep import execute, product, shapes, values

plan_module = sys.modules["jaxdl.sweep.plan"]  # the package has a function plan

ROOT = Path(__file__).parent.parent.parent
RATES = np.linspace(0.1, 0.9, 11).astype(np.float32)
GRID = product(shapes("n", [3, 5]), values("rate", RATES))


def point(key, n, rate):
    w = jax.random.normal(key, (n,))
    for _ in range(3):
        w = w - rate * jnp.sin(w)
    return {"loss": jnp.sum(w * w), "ends": (w[:2], jnp.argmax(w))}


def run(*args, **kwargs):
    return sweep.run(*args, progress=False, **kwargs)


def bits(results):
    return {name: array.tobytes() for name, array in results.items()}


@pytest.fixture(scope="module")
def undisturbed():
    return run(point, GRID, seed=7, batch_size=4).results


@pytest.mark.parametrize("method", ["vmap", "map"])
def test_equals_a_plain_loop(method):
    got = run(point, GRID, seed=7, batch_size=4, method=method).results
    root = jax.random.key(7)
    plain = jax.jit(point, static_argnames="n")
    for i, (n, rate) in enumerate((n, rate) for n in (3, 5) for rate in RATES):
        expected = plain(jax.random.fold_in(root, i), n=n, rate=rate)
        np.testing.assert_allclose(got["loss"][i], expected["loss"], rtol=1e-5)
        np.testing.assert_allclose(got["ends.0"][i], expected["ends"][0], rtol=1e-4)
        assert got["ends.1"][i] == expected["ends"][1]
        assert (got["point"][i], got["n"][i], got["rate"][i]) == (i, n, rate)
    assert got["ends.1"].dtype == np.int32


def test_bits_do_not_depend_on_a_directory(undisturbed, tmp_path):
    outcome = run(point, GRID, tmp_path, seed=7, batch_size=4)
    assert bits(outcome.results) == bits(undisturbed)
    assert bits(sweep.results(tmp_path)) == bits(undisturbed)
    assert outcome.n_computed == 22
    again = run(point, GRID, tmp_path, seed=7)  # the sizes are those kept there
    assert again.n_computed == 0
    assert bits(again.results) == bits(undisturbed)


def test_bits_do_not_depend_on_interruptions(undisturbed, tmp_path):
    def stop(found):
        raise KeyboardInterrupt

    for done in range(3):
        with pytest.raises(KeyboardInterrupt):
            run(point, GRID, tmp_path, seed=7, batch_size=4, callback=stop)
        assert sweep.status(tmp_path).batches == (done + 1, 6)
        assert sweep.status(tmp_path).writer == ""
    outcome = run(point, GRID, tmp_path, seed=7)
    assert outcome.n_computed == 22 - 4 - 4 - 3
    assert bits(outcome.results) == bits(undisturbed)


def test_bits_do_not_depend_on_the_order(undisturbed, tmp_path, monkeypatch):
    forward = execute.Plan.batches
    monkeypatch.setattr(
        execute.Plan, "batches", lambda self, i: list(forward(self, i))[::-1]
    )
    first = []
    got = run(
        point,
        GRID,
        seed=7,
        batch_size=4,
        callback=lambda found: first.append(found["point"][0]),
    )
    assert first[0] == 8
    assert bits(got.results) == bits(undisturbed)


def test_bits_do_not_depend_on_shards(undisturbed, tmp_path):
    folders = [tmp_path / str(i) for i in range(3)]
    for i, folder in enumerate(folders):
        run(point, GRID, folder, seed=7, batch_size=4, shard=(i, 3))
    with pytest.raises(ValueError, match="8 of 22 points"):
        sweep.results(folders[0])
    assert len(sweep.results(folders[0], partial=True)["point"]) == 8
    status = sweep.merge(folders, tmp_path / "all")
    assert (status.n_done, status.batches) == (22, (6, 6))
    assert bits(sweep.results(tmp_path / "all")) == bits(undisturbed)
    # What is merged can be gone on with, and merged again.
    assert run(point, GRID, tmp_path / "all", seed=7).n_computed == 0
    assert sweep.merge(folders[:1], tmp_path / "all").n_done == 22


def test_bits_do_not_depend_on_filling_a_batch():
    few, more = values("rate", RATES[:9]), values("rate", RATES)
    a = run(lambda key, rate: point(key, 3, rate), few, batch_size=4).results
    b = run(lambda key, rate: point(key, 3, rate), more, batch_size=4).results
    assert a["loss"].tobytes() == b["loss"][:9].tobytes()


def test_bits_do_not_depend_on_the_number_of_devices(undisturbed):
    code = """
import sys; sys.path.insert(0, "tests/sweep")
import jax, test_run as t
assert len(jax.local_devices()) == 4
print(t.bits(t.run(t.point, t.GRID, seed=7, batch_size=4).results)["loss"].hex())
"""
    answer = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "JAX_NUM_CPU_DEVICES": "4", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.strip() == undisturbed["loss"].tobytes().hex()


def test_keys_follow_the_seed(undisturbed):
    other = run(point, GRID, seed=8, batch_size=4).results
    assert not np.any(other["loss"] == undisturbed["loss"])


def test_diverged_points_are_kept_counted_and_listed(tmp_path):
    def diverges(key, x):
        return {"a": jnp.log(x), "b": jnp.stack([x, 1 / x, 1 / (x + 1)])}

    grid = values("x", [1.0, -1.0, 0.0, 2.0])
    outcome = run(diverges, grid, tmp_path)
    for status in (outcome.status, sweep.status(tmp_path)):
        assert (status.n_nan, status.n_infinite, status.n_done) == (1, 1, 4)
        assert status.nonfinite["point"].tolist() == [1, 2]
        assert status.nonfinite["x"].tolist() == [-1.0, 0.0]
        assert "1 points with NaN, 1 infinite" in str(status)
        assert "point=1 x=-1.0 a=nan" in str(status)
    expected = [0, np.nan, -np.inf, np.log(2)]
    np.testing.assert_allclose(outcome.results["a"], expected, rtol=1e-6)


def test_a_point_that_raises_does_not_stop_the_others(tmp_path):
    def fails(key, n, rate, bad=(3,)):
        if n in bad:
            raise TypeError(f"no {n}")
        return rate * n

    with pytest.warns(
        RuntimeWarning, match=r"11 points of \{'n': 3\}: TypeError: no 3"
    ):
        outcome = run(fails, GRID, tmp_path)
    assert outcome.results["point"].tolist() == list(range(11, 22))
    np.testing.assert_array_equal(outcome.results["value"], RATES * 5)
    for status in (outcome.status, sweep.status(tmp_path)):
        ((shapes_, n, error),) = status.failures
        assert (shapes_, n, error) == ({"n": 3}, 11, "TypeError: no 3")
    with pytest.raises(ValueError, match="no 3"):
        sweep.results(tmp_path)
    # Mended, it goes on with what was missing.
    outcome = run(lambda key, n, rate: fails(key, n, rate, ()), GRID, tmp_path)
    assert (outcome.n_computed, outcome.status.failures) == (11, ())
    assert sweep.status(tmp_path).failures == ()
    np.testing.assert_array_equal(
        sweep.results(tmp_path)["value"], np.concatenate([RATES * 3, RATES * 5])
    )


def test_a_program_that_fails_as_it_runs_does_not_stop_the_others(tmp_path):
    def refuse(x):
        raise RuntimeError("out of something")

    def fails(key, n, rate):
        if n == 3:
            shape = jax.ShapeDtypeStruct((), np.float32)
            return jax.pure_callback(refuse, shape, rate, vmap_method="sequential")
        return rate

    with pytest.warns(RuntimeWarning, match="out of something"):
        outcome = run(fails, GRID, tmp_path)
    assert outcome.results["point"].tolist() == list(range(11, 22))
    assert "out of something" in sweep.status(tmp_path).failures[0].error


def test_progress_counts_points_also_those_done_before(tmp_path):
    seen = []
    sweep.run(point, GRID, tmp_path, batch_size=4, progress=seen.append)
    assert seen == [4, 4, 3, 4, 4, 3]
    seen.clear()
    sweep.run(point, GRID, tmp_path, progress=seen.append)
    assert seen == [22]


def test_dtypes_of_jax_are_kept(tmp_path):
    def kinds(key, x):
        return {"half": x.astype(jnp.bfloat16), "is": x > 1, "z": jax.lax.complex(x, x)}

    run(kinds, values("x", [0.5, 1.5]), tmp_path)
    found = sweep.results(tmp_path)
    assert found["half"].dtype == jnp.bfloat16
    assert found["half"].tolist() == [0.5, 1.5]
    assert found["is"].tolist() == [False, True]
    assert found["z"].tolist() == [0.5 + 0.5j, 1.5 + 1.5j]


@pytest.mark.parametrize("seed", [1.5, True, None])
def test_the_seed_must_be_an_integer(seed):
    with pytest.raises(ValueError, match="seed must be an integer"):
        run(point, GRID, seed=seed)


@pytest.mark.parametrize("method", ["vmap", "map"])
def test_the_fastest_method_is_that_of_the_directory(method, tmp_path):
    run(point, GRID, tmp_path, batch_size=4, method=method)
    assert run(point, GRID, tmp_path, method="fastest").n_computed == 0


def test_the_fastest_method_is_the_faster_one(monkeypatch):
    clock = iter([0, 5, 10, 15, 20, 23, 30, 33])  # two runs by vmap, and two by map
    monkeypatch.setattr(plan_module, "perf_counter", lambda: next(clock))
    planned = sweep.plan(lambda key, x: x, values("x", [1.0]), method="fastest")
    assert (planned.method, planned.seconds) == ("map", 3)
