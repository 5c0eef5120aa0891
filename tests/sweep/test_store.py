"""Faults that a sweep on disk survives."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import sweep
from jaxdl.sweep import files, product, shapes, values

ROOT = Path(__file__).parent.parent.parent
GRID = product(values("x", np.arange(1.0, 7)), values("seed", range(3)))
TABLE = np.random.default_rng(0).normal(size=4).astype(np.float32)


def point(key, x, seed):
    return {"a": x * jax.random.normal(key), "b": jnp.stack([x, x + seed])}


def run(*args, **kwargs):
    return sweep.run(*args, progress=False, **kwargs)


def bits(results):
    return {name: array.tobytes() for name, array in results.items()}


def begun(folder, **kwargs):
    return run(point, GRID, folder, batch_size=4, **kwargs)


def truncated(content):
    return content[: len(content) // 2]


def emptied(content):
    return b""


def bit_flipped(content):
    at = len(content) - 40
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def head_flipped(content):
    return content[:20] + bytes([content[20] ^ 1]) + content[21:]


@pytest.mark.parametrize("name", ["batch-00000002.sweep", "run.sweep"])
@pytest.mark.parametrize("harm", [truncated, emptied, bit_flipped, head_flipped])
def test_damaged_files_are_named_and_written_again(harm, name, tmp_path):
    expected = bits(begun(tmp_path).results)
    path = tmp_path / name
    path.write_bytes(harm(path.read_bytes()))
    if name.startswith("batch"):
        assert sweep.status(tmp_path).damaged == (name,)
        assert f"damaged: {name}" in str(sweep.status(tmp_path))
    with pytest.raises(ValueError, match=name):
        sweep.results(tmp_path)
    with pytest.warns(RuntimeWarning, match=name):
        outcome = begun(tmp_path)
    assert outcome.repaired == (name,)
    assert outcome.n_computed == (4 if name.startswith("batch") else 0)
    assert bits(sweep.results(tmp_path)) == expected


def test_a_batch_under_the_name_of_another_is_damaged(tmp_path):
    expected = bits(begun(tmp_path).results)
    os.replace(tmp_path / "batch-00000000.sweep", tmp_path / "batch-00000001.sweep")
    with pytest.warns(RuntimeWarning, match="batch-00000001"):
        assert begun(tmp_path).n_computed == 8
    assert bits(sweep.results(tmp_path)) == expected


def other_axis():
    return product(values("x", np.arange(2.0, 8)), values("seed", range(3)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": 1}, "seed is 1 here and 0 there"),
        ({"batch_size": 5}, "batch_size is .5, 5, 5, 5. here|batch_size is .5. here"),
        ({"method": "map"}, "method is 'map' here and 'vmap' there"),
        ({"sweep": other_axis()}, "axis x is .* here and .* there"),
        ({"sweep": product(*GRID.parts[::-1])}, "axes is 'product.seed, x.' here"),
        ({"sweep": product(GRID, shapes("n", [1]))}, "axis n is"),
        ({"point": lambda key, x, seed: {"a": x, "b": x}}, "the program of bucket 0"),
    ],
)
def test_another_configuration_is_refused_by_name(arguments, message, tmp_path):
    begun(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=message):
        run(**{"point": point, "sweep": GRID, "directory": tmp_path, **arguments})
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray])
def test_an_array_in_the_point_is_part_of_the_configuration(kind, tmp_path):
    def with_table(table):
        array = kind(table)
        return lambda key, x, seed: jnp.sum(x * array)

    run(with_table(TABLE), GRID, tmp_path)
    assert run(with_table(TABLE), GRID, tmp_path).n_computed == 0
    with pytest.raises(ValueError, match="an array in it"):
        run(with_table(TABLE + 1), GRID, tmp_path)


def test_batches_of_another_run_are_refused(tmp_path):
    begun(tmp_path / "a")
    begun(tmp_path / "b", seed=1)
    name = "batch-00000001.sweep"
    (tmp_path / "a" / name).write_bytes((tmp_path / "b" / name).read_bytes())
    with pytest.raises(ValueError, match="batches of one sweep"):
        sweep.results(tmp_path / "a")


def test_merge_refuses_what_does_not_belong_together(tmp_path):
    begun(tmp_path / "a")
    begun(tmp_path / "b", seed=1)
    with pytest.raises(ValueError, match="seed is 1 here and 0 there"):
        sweep.merge([tmp_path / "a", tmp_path / "b"], tmp_path / "all")
    with pytest.raises(ValueError, match="out must not be"):
        sweep.merge([tmp_path / "a"], tmp_path / "a")
    with pytest.raises(ValueError, match="one or more"):
        sweep.merge([], tmp_path / "none")


def test_merge_refuses_other_numbers_for_one_batch(tmp_path):
    for name in "ab":
        begun(tmp_path / name)
    path = tmp_path / "b" / "batch-00000001.sweep"
    about, arrays = files.read(path)
    files.write(path, about, {**arrays, "a": arrays["a"] + 1})
    with pytest.raises(ValueError, match="other numbers for batch 1"):
        sweep.merge([tmp_path / "a", tmp_path / "b"], tmp_path / "all")


def test_merge_leaves_damaged_batches_out_and_names_them(tmp_path):
    begun(tmp_path / "a")
    path = tmp_path / "a" / "batch-00000001.sweep"
    path.write_bytes(truncated(path.read_bytes()))
    status = sweep.merge([tmp_path / "a"], tmp_path / "all")
    assert status.damaged == (str(path),)
    assert status.n_done == 14


def test_a_second_writer_is_refused(tmp_path):
    def second(found):
        writer = sweep.status(tmp_path).writer
        assert f"process {os.getpid()}" in writer
        with pytest.raises(ValueError, match=f"one writer.*process {os.getpid()}"):
            begun(tmp_path)

    assert begun(tmp_path, callback=second).status.n_done == 18
    assert sweep.status(tmp_path).writer == ""


def test_a_file_of_a_process_that_is_gone_is_no_lock(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / "lock").write_text(f'{{"pid": {gone.pid}, "host": "here"}}')
    assert begun(tmp_path).status.n_done == 18
    assert (tmp_path / "lock").read_text() == ""


def test_a_directory_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="directory must be one that can be written"):
        begun(tmp_path / "file" / "folder")
    if os.geteuid() == 0:
        return  # who may write everywhere
    tmp_path.chmod(0o500)
    with pytest.raises(ValueError, match="directory must be one that can be written"):
        begun(tmp_path)


def test_a_read_only_directory_as_the_system_refuses_it(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(errno.EROFS, "Read-only file system")

    begun(tmp_path)
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ValueError, match="directory must be one that can be written"):
        begun(tmp_path)
    monkeypatch.undo()
    assert len(sweep.results(tmp_path)["point"]) == 18


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(KeyboardInterrupt):
        begun(tmp_path, callback=lambda found: (_ for _ in ()).throw(KeyboardInterrupt))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        begun(tmp_path)
    monkeypatch.undo()
    assert not list(tmp_path.glob("*.tmp"))
    outcome = begun(tmp_path)
    assert (outcome.n_computed, outcome.status.n_done) == (14, 18)


def test_no_sweep_there(tmp_path):
    for function in (sweep.results, sweep.table, sweep.status):
        with pytest.raises(ValueError, match="directory must have a sweep"):
            function(tmp_path)


def test_the_table_has_a_number_a_column(tmp_path):
    begun(tmp_path)
    found, arrays = sweep.table(tmp_path), sweep.results(tmp_path)
    assert list(found) == ["point", "x", "seed", "a", "b.0", "b.1"]
    np.testing.assert_array_equal(found["b.1"], arrays["b"][:, 1])
    assert all(column.shape == (18,) for column in found.values())


def test_a_table_in_parquet(tmp_path):
    begun(tmp_path / "a")
    try:
        import polars
    except ImportError:
        with pytest.raises(ImportError, match="polars"):
            sweep.table(tmp_path / "a", parquet=tmp_path / "t.parquet")
        return
    found = sweep.table(tmp_path / "a", parquet=tmp_path / "t.parquet")
    read = polars.read_parquet(tmp_path / "t.parquet")
    for name, column in found.items():
        np.testing.assert_array_equal(read[name].to_numpy(), column)


def test_columns_must_differ(tmp_path):
    def clash(key, x, seed):
        return {"a": jnp.stack([x, x]), "a.0": x}

    run(clash, GRID, tmp_path)
    with pytest.raises(ValueError, match=r"a\.0 twice"):
        sweep.table(tmp_path)


SLOWLY = """
import sys, time; sys.path.insert(0, "tests/sweep")
import test_store as t
def wait(found):
    print("batch", flush=True)
    time.sleep(0.2)
t.begun(sys.argv[1], callback=wait)
"""


def started(folder):
    return subprocess.Popen(
        [sys.executable, "-c", SLOWLY, str(folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def test_killed_and_gone_on_with(tmp_path):
    process = started(tmp_path / "a")
    assert process.stdout is not None
    process.stdout.readline()
    assert f"process {process.pid}" in sweep.status(tmp_path / "a").writer
    with pytest.raises(ValueError, match=f"process {process.pid}"):
        begun(tmp_path / "a")
    process.kill()
    process.wait()
    process.stdout.close()
    (tmp_path / "a" / "batch-00000003.sweep.x.tmp").write_bytes(b"half")
    kept = sweep.status(tmp_path / "a")
    assert 0 < kept.n_done < 18
    assert kept.writer == ""
    outcome = begun(tmp_path / "a")
    assert outcome.n_computed == 18 - kept.n_done
    assert bits(outcome.results) == bits(begun(tmp_path / "b").results)
    assert not list((tmp_path / "a").glob("*.tmp"))


def test_interrupted_by_the_keyboard(tmp_path):
    process = started(tmp_path)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.wait()
    process.stdout.close()
    assert process.returncode == -signal.SIGINT  # 130 to a shell
    assert not list(tmp_path.glob("*.tmp"))
    assert (tmp_path / "lock").read_text() == ""
    kept = sweep.status(tmp_path).n_done
    assert begun(tmp_path).n_computed == 18 - kept


@pytest.mark.slow
def test_killed_at_twenty_moments(tmp_path):
    rng = np.random.default_rng(0)
    for _ in range(20):
        process = started(tmp_path / "a")
        time.sleep(rng.uniform(0.5, 3.0))
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    outcome = begun(tmp_path / "a")
    assert bits(outcome.results) == bits(begun(tmp_path / "b").results)
