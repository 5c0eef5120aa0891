"""Kernels on disk: the same numbers, whatever interrupts them."""

import json
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.ntk import empirical_ntk, ntk_to_file, to_file

ROOT = Path(__file__).parent.parent.parent
RNG = np.random.default_rng(0)
PARAMS = {
    "a": {"w": RNG.normal(size=(3, 4)).astype(np.float32)},
    "b": {"w": RNG.normal(size=(4, 2)).astype(np.float32)},
}
X1 = RNG.normal(size=(7, 3)).astype(np.float32)
X2 = RNG.normal(size=(5, 3)).astype(np.float32)
WRITE = partial(ntk_to_file, progress=False)


def apply(params, x):
    return jnp.tanh(x @ params["a"]["w"]) @ params["b"]["w"]


def stop_after(blocks):
    """A function for ``progress`` that raises when so many blocks are newly done."""
    seen = []

    def progress(n):
        seen.append(n)
        if sum(seen) >= blocks:
            raise KeyboardInterrupt

    return progress


def files(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("x2", [X2, None])
@pytest.mark.parametrize("outputs", ["trace", "diagonal", "full"])
def test_the_numbers(outputs, x2, tmp_path):
    path = tmp_path / "kernel.npy"
    where = {"a": True, "b": False}
    returned = WRITE(
        apply, PARAMS, X1, x2, path, outputs=outputs, block_size=3, where=where
    )
    expected = empirical_ntk(apply, PARAMS, X1, x2, outputs=outputs, where=where)
    kernel = np.load(path, mmap_mode="r")
    np.testing.assert_allclose(kernel, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(returned, kernel)
    assert kernel.dtype == np.float32
    assert files(tmp_path) == ["kernel.npy"]
    if x2 is None:
        axes = (1, 0, 3, 2)[: kernel.ndim] if outputs != "diagonal" else (1, 0, 2)
        np.testing.assert_array_equal(kernel, kernel.transpose(axes))


def test_float64_and_the_dtype_of_the_file(tmp_path):
    path = tmp_path / "kernel.npy"
    with jax.enable_x64(True):
        params, x = jax.tree.map(np.float64, (PARAMS, X1))
        kernel = WRITE(apply, params, x, None, path, block_size=4)
        expected = np.asarray(empirical_ntk(apply, params, x, outputs="trace"))
        assert kernel.dtype == np.float64
        np.testing.assert_allclose(kernel, expected, rtol=1e-12)
    half = WRITE(apply, PARAMS, X1, X2, path, dtype="float16")
    assert half.dtype == np.float16
    np.testing.assert_allclose(
        half,
        empirical_ntk(apply, PARAMS, X1, X2, outputs="trace"),
        rtol=1e-2,
        atol=1e-2,
    )


def test_a_pytree_of_inputs_in_a_file(tmp_path):
    np.save(tmp_path / "x.npy", X1)
    tokens = np.arange(7) % 3

    def of_pair(params, x):
        values, token = x
        return jnp.tanh(values @ params["a"]["w"])[token]

    mapped = (np.load(tmp_path / "x.npy", mmap_mode="r"), tokens)
    kernel = WRITE(of_pair, PARAMS, mapped, None, tmp_path / "k.npy", block_size=2)
    where = {"a": True, "b": False}
    expected = empirical_ntk(
        of_pair, PARAMS, (X1, tokens), outputs="trace", where=where
    )
    np.testing.assert_allclose(kernel, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("x2", [X2, None])
def test_interrupted_work_goes_on_and_comes_to_the_same_bits(x2, tmp_path):
    whole = np.array(WRITE(apply, PARAMS, X1, x2, tmp_path / "whole.npy", block_size=2))
    path = tmp_path / "kernel.npy"
    for blocks in (3, 6):  # the second time, three are reported first
        with pytest.raises(KeyboardInterrupt):
            WRITE(
                apply, PARAMS, X1, x2, path, block_size=2, progress=stop_after(blocks)
            )
    assert sum(json.loads((tmp_path / "kernel.npy.progress").read_text())["done"]) == 6
    seen = []
    resumed = WRITE(apply, PARAMS, X1, x2, path, block_size=2, progress=seen.append)
    assert seen == [6] + [1] * ((12 if x2 is not None else 10) - 6)
    assert resumed.tobytes() == whole.tobytes()
    assert files(tmp_path) == ["kernel.npy", "whole.npy"]


def test_what_is_done_is_not_done_again(tmp_path):
    path = tmp_path / "kernel.npy"
    with pytest.raises(KeyboardInterrupt):
        WRITE(apply, PARAMS, X1, X2, path, block_size=2, progress=stop_after(3))
    file = np.lib.format.open_memmap(path, "r+")
    assert file[:2, :5].all()
    assert not file[2:].any()
    file[:2] = 7
    file.flush()
    del file
    again = WRITE(apply, PARAMS, X1, X2, path, block_size=2)
    assert (again[:2] == 7).all()
    whole = WRITE(apply, PARAMS, X1, X2, tmp_path / "whole.npy", block_size=2)
    np.testing.assert_array_equal(again[2:], whole[2:])


def test_apply_is_compiled_once_for_all_blocks(tmp_path):
    def traces(block_size):
        calls = []

        def counted(params, x):
            calls.append(1)
            return apply(params, x)

        WRITE(counted, PARAMS, X1, None, tmp_path / "k.npy", block_size=block_size)
        return len(calls)

    assert traces(1) == traces(4)


KILLED = """
import sys
import jax.numpy as jnp, numpy as np
from jaxdl.ntk import ntk_to_file, to_file
to_file.KEPT_EVERY = 0.0
x = np.arange(1.0, 9.0, dtype=np.float32)
done = []
def progress(n):
    done.append(n)
    if len(done) == 5 and sys.argv[2] == "die":
        import os, signal
        os.kill(os.getpid(), signal.SIGKILL)
ntk_to_file(lambda w, x: w * x, jnp.float32(2), x, None, sys.argv[1], block_size=2,
            progress=progress)
print(done)
"""


def test_a_killed_process_loses_nothing_that_was_kept(tmp_path):
    path = tmp_path / "kernel.npy"

    def run(word):
        return subprocess.run(
            [sys.executable, "-c", KILLED, path, word],
            capture_output=True,
            text=True,
            cwd=ROOT,
        )

    assert run("die").returncode == -signal.SIGKILL
    assert (tmp_path / "kernel.npy.progress").exists()
    second = run("live")
    assert second.stdout.strip() == "[5, 1, 1, 1, 1, 1]", second.stderr
    x = np.arange(1.0, 9.0)
    np.testing.assert_array_equal(np.load(path), x[:, None] * x)
    assert files(tmp_path) == ["kernel.npy"]


TWO_DEVICES = """
import sys
import jax
jax.config.update("jax_num_cpu_devices", 2)
import jax.numpy as jnp, numpy as np
from jaxdl.ntk import ntk_to_file
rng = np.random.default_rng(0)
x = rng.normal(size=(9, 3)).astype(np.float32)
w = rng.normal(size=(3, 2)).astype(np.float32)
used = set()
def apply(w, x):
    return jnp.tanh(x @ w)
def write(name, devices, progress=False):
    path = f"{sys.argv[1]}/{name}.npy"
    return np.array(ntk_to_file(apply, w, x, None, path, outputs="full",
                                block_size=2, devices=devices, progress=progress))
class Stop(Exception): pass
def stop(n):
    used.add(n)
    raise Stop
both = jax.devices()
assert len(both) == 2
one = write("one", None)
two = write("two", both)
try:
    write("mixed", both, stop)
except Stop:
    mixed = write("mixed", both[1:])
print(one.tobytes() == two.tobytes() == mixed.tobytes())
"""


def test_rows_take_the_devices_in_turn_and_the_bits_stay(tmp_path):
    answer = subprocess.run(
        [sys.executable, "-c", TWO_DEVICES, tmp_path],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert answer.stdout.strip() == "True", answer.stderr


def test_every_block_is_given_out_once_and_rows_alternate():
    for symmetric, n_devices in ((True, 1), (True, 2), (False, 3)):
        plan = to_file._Plan("trace", "auto", symmetric, (9, 9), (5, 5), (2, 2))
        pairs = list(to_file._pairs(plan, n_devices, [0] * 5))
        assert sorted(pairs) == [
            (i, j) for i in range(5) for j in range(i if symmetric else 0, 5)
        ]
        assert {i for i, _ in pairs[:n_devices]} == set(range(n_devices))
        left = list(to_file._pairs(plan, n_devices, [2, 0, 0, 1, 0]))
        assert set(pairs) - set(left) == {(0, 0), (0, 1), (3, plan.first(3))}


def test_a_block_that_is_not_finite_keeps_what_is_done(tmp_path):
    path = tmp_path / "kernel.npy"
    bad = X1.copy()
    bad[5] = np.nan
    with pytest.raises(ValueError, match=r"finite outputs, .* examples 5 of x1"):
        WRITE(apply, PARAMS, bad, None, path, block_size=2)
    progress = json.loads((tmp_path / "kernel.npy.progress").read_text())
    assert progress["done"] == [2, 0, 0, 0]
    with pytest.raises(ValueError, match=r"finite outputs, .* examples 2 of x2"):
        WRITE(apply, PARAMS, X1, np.insert(X2, 2, np.inf, 0), tmp_path / "b.npy")

    def root(w, x):
        return jnp.sqrt(w * x)

    with pytest.raises(ValueError, match=r"kernel must be finite, .* examples 3 of x1"):
        WRITE(
            root,
            1.0,
            np.arange(3.0, -1.0, -1.0),
            None,
            path,
            block_size=3,
            resume=False,
        )
    with pytest.raises(ValueError, match="float16 must hold the kernel, got 1000000"):
        WRITE(
            lambda w, x: w * x, 1.0, np.array([1e3]), None, tmp_path / "c", dtype="f2"
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"params": jax.tree.map(np.negative, PARAMS)}, "params is"),
        ({"x1": X1 + 1}, "x1 is"),
        ({"x2": X2 + 1}, "x2 is"),
        ({"x2": None}, r"shape is \[7, 7\] here and \[7, 5\] there"),
        ({"outputs": "diagonal"}, "outputs is 'diagonal' here and 'trace' there"),
        ({"method": "products"}, "method is 'products' here"),
        ({"block_size": 3}, r"size of a block is \[3, 3\] here and \[2, 2\] there"),
        ({"where": {"a": True, "b": False}}, r"where is \[0\] here and \[0, 1\] there"),
        ({"dtype": np.float64}, "dtype is 'float64' here and 'float32' there"),
        (
            {"apply": lambda p, x: 2 * apply(p, x)},
            "another apply: .* pass resume=False",
        ),
    ],
)
def test_unfinished_work_of_another_kind_is_refused(change, message, unfinished):
    before = {path.name: path.read_bytes() for path in unfinished.parent.iterdir()}
    settings = {"apply": apply, "params": PARAMS, "x1": X1, "x2": X2, "block_size": 2}
    with pytest.raises(ValueError, match=message):
        WRITE(path=unfinished, **(settings | change))
    after = {path.name: path.read_bytes() for path in unfinished.parent.iterdir()}
    assert after == before


@pytest.fixture
def unfinished(tmp_path):
    path = tmp_path / "kernel.npy"
    with pytest.raises(KeyboardInterrupt):
        WRITE(apply, PARAMS, X1, X2, path, block_size=2, progress=stop_after(3))
    return path


def test_begin_anew(unfinished):
    seen = []
    WRITE(
        apply, PARAMS, X1, None, unfinished, block_size=4, resume=False,
        progress=seen.append,
    )  # fmt: skip
    assert seen == [1, 1, 1]
    assert files(unfinished.parent) == ["kernel.npy"]
    # One that is complete is replaced.
    assert WRITE(apply, PARAMS, X1, X2, unfinished).shape == (7, 5)


def test_damaged_files_are_refused(unfinished):
    call = partial(WRITE, apply, PARAMS, X1, X2, unfinished, block_size=2)
    beside = unfinished.with_name("kernel.npy.progress")
    text = beside.read_text()
    for broken in (text[:-5], text.replace('"done"', '"made"'), "[]"):
        beside.write_text(broken)
        with pytest.raises(
            ValueError, match=r"must have what kernel.npy.progress says"
        ):
            call()
    beside.write_text(text.replace('"done": [3', '"done": [4'))
    with pytest.raises(ValueError, match=r"got \(7, 5\) float32 with blocks \[4, 0"):
        call()
    beside.write_text(text)
    np.save(unfinished, np.zeros((7, 4), np.float32))
    with pytest.raises(ValueError, match=r"array of \(7, 5\) float32, got \(7, 4\)"):
        call()
    unfinished.unlink()
    with pytest.raises(ValueError, match="No such file"):
        call()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": np.int32}, "dtype must be float16, float32 or float64, got int32"),
        ({"devices": []}, "devices must be"),
        ({"devices": ["cpu"]}, "devices must be"),
        ({"method": "fast"}, "method must be one of"),
        ({"outputs": "all"}, "outputs must be one of"),
        ({"block_size": 0}, "block_size must be"),
        ({"x2": X2[:, :2]}, "x2 must have examples of shape"),
    ],
)
def test_rejects(change, message, tmp_path):
    settings = {"x1": X1, "x2": X2, "path": tmp_path / "kernel.npy"}
    with pytest.raises(ValueError, match=message):
        WRITE(apply, PARAMS, **(settings | change))
    assert files(tmp_path) == []


def test_traced_arrays_and_a_small_disk_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "kernel.npy"
    with pytest.raises(ValueError, match="got traced arrays"):
        jax.jit(lambda x: WRITE(apply, PARAMS, x, None, path))(X1)
    x = np.zeros((2**21, 3), np.float16)  # a kernel of 17.6 TB
    with pytest.raises(ValueError, match=r"1\.76e\+04 GB free"):
        WRITE(apply, PARAMS, x, None, path)
    assert files(tmp_path) == []


def test_the_bar(tmp_path, capsys):
    ntk_to_file(apply, PARAMS, X1, X2, tmp_path / "k.npy", block_size=2)
    assert "kernel: 100% done" in capsys.readouterr().err
