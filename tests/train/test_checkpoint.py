"""Interrupted and resumed, training comes to the same bits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import losses, optim, train
from jaxdl.models import mlp

RNG = np.random.default_rng(0)
X = RNG.normal(size=(10, 4)).astype(np.float32)
Y = RNG.integers(0, 3, size=10).astype(np.int32)
OTHER = (X, np.roll(Y, 3))  # its loss rises
KEYS = jax.random.split(jax.random.key(0), 3)
PARAMS = jax.vmap(lambda key: mlp.init(key, (4, 8, 3)))(KEYS)
FIRST = jax.tree.map(lambda a: a[0], PARAMS)
ERROR = losses.misclassified
EVALUATE = train.evaluator(mlp.apply, test=losses.cross_entropy)
STOP = train.EarlyStopping("test", patience=2)
BASE = train.supervised(mlp.apply, losses.cross_entropy, error=ERROR)
ADAM = optim.chain(optim.add_noise(jax.random.key(7), 0.1, 0.5), optim.adam(0.1))


def noisy_loss(params, state, batch, key):
    """Draws from its key, and keeps a key and a running mean as its state."""
    value, (_, metrics) = BASE(params, None, batch, key)
    own, mean = state
    noise = jax.random.normal(own) + jax.random.normal(key)
    state = (jax.random.fold_in(own, 1), (mean + noise).astype(mean.dtype) / 2)
    return value * (1 + 0.01 * noise), (state, metrics)


def state_of(key):
    return key, jnp.zeros((), jnp.bfloat16)


def single(**changes):
    settings = {
        "key": KEYS[0],
        "loss": noisy_loss,
        "params": FIRST,
        "optimizer": ADAM,
        "data": (X, Y),
        "state": state_of(KEYS[1]),
        "steps": 24,
        "batch_size": 4,
        "evaluate": EVALUATE,
        "held_out": OTHER,
        "record_every": 2,
        "chunk": 4,
    }
    return train.fit(**(settings | changes))


def ensemble(**changes):
    settings = {
        "keys": KEYS,
        "loss": noisy_loss,
        "params": PARAMS,
        "optimizer": optim.adam,
        "hyperparameters": (np.array([0.1, 0.03, 0.3], np.float32),),
        "data": (X, Y),
        "rows": np.stack([np.arange(8), np.arange(2, 10), np.zeros(8, int)]),
        "state": jax.vmap(state_of)(KEYS),
        "steps": 24,
        "batch_size": 4,
        "evaluate": EVALUATE,
        "held_out": OTHER,
        "record_every": 2,
        "early_stopping": STOP._replace(patience=5),
        "chunk": 4,
    }
    return train.fit_ensemble(**(settings | changes))


def interrupt_at(step):
    def callback(snapshot):
        if snapshot.step == step:
            raise KeyboardInterrupt

    return callback


def bits(tree):
    def raw(leaf):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        return leaf.dtype, leaf.shape, np.asarray(leaf).tobytes()

    return [raw(leaf) for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize("run", [single, ensemble])
@pytest.mark.parametrize("step", [4, 8])
def test_an_interrupted_run_comes_to_the_same_bits(run, step, tmp_path):
    path = tmp_path / "run.npz"
    with pytest.raises(KeyboardInterrupt):
        run(checkpoint=path, callback=interrupt_at(step))
    seen = []
    resumed = run(checkpoint=path, callback=lambda s: seen.append(s.step))
    whole = run()
    assert seen[0] == step + 4
    assert bits(resumed) == bits(whole)
    assert list(tmp_path.iterdir()) == [path]


def test_early_stopping_is_resumed_too(tmp_path):
    path = tmp_path / "run.npz"
    whole = single(early_stopping=STOP)
    assert 4 < int(whole.stopped_at) < 24
    with pytest.raises(KeyboardInterrupt):
        single(early_stopping=STOP, checkpoint=path, callback=interrupt_at(4))
    assert bits(single(early_stopping=STOP, checkpoint=path)) == bits(whole)
    # What has ended is not trained again.
    seen = []
    again = single(early_stopping=STOP, checkpoint=path, callback=seen.append)
    assert seen == []
    assert bits(again) == bits(whole)


def test_the_chunk_may_differ_and_the_bar_starts_where_the_run_does(tmp_path):
    path = tmp_path / "run.npz"
    with pytest.raises(KeyboardInterrupt):
        single(checkpoint=path, callback=interrupt_at(8))
    done = []
    resumed = single(checkpoint=path, chunk=16, progress=done.append)
    assert done == [8, 12, 4]
    assert bits(resumed) == bits(single())


def test_an_interruption_inside_of_writing_leaves_the_file_before(
    tmp_path, monkeypatch
):
    path = tmp_path / "run.npz"
    with pytest.raises(KeyboardInterrupt):
        single(checkpoint=path, callback=interrupt_at(8))
    before = path.read_bytes()

    def broken(file, **arrays):
        file.write(b"half of it")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(np, "savez", broken)
        with pytest.raises(KeyboardInterrupt):
            single(checkpoint=path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    assert bits(single(checkpoint=path)) == bits(single())


def test_an_interruption_between_computing_and_writing_loses_nothing(
    tmp_path, monkeypatch
):
    path = tmp_path / "run.npz"
    real, calls = np.savez, []

    def interrupted_once(file, **arrays):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(file, **arrays)

    monkeypatch.setattr(np, "savez", interrupted_once)
    with pytest.raises(KeyboardInterrupt):
        single(checkpoint=path)
    assert train.read_about(path)["records"] == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 48}, "steps is 48 here and 24 there"),
        ({"batch_size": 5}, "batch_size is 5 here and 4 there"),
        ({"record_every": 4}, "record_every is 4 here and 2 there"),
        ({"sampler": train.random_batches}, "sampler is 'random_batches' here"),
        ({"early_stopping": STOP}, "early_stopping is"),
        ({"key": KEYS[1]}, "key is"),
        ({"data": (X, np.roll(Y, 1))}, "data is"),
        ({"held_out": (-X, Y)}, "held_out is"),
        ({"rows": np.arange(10)}, "rows is"),
        ({"params": jax.tree.map(lambda a: a[1], PARAMS)}, "params is"),
        ({"optimizer": optim.adam(0.1)}, "optimizer is"),
        ({"evaluate": None}, r"expected 20 arrays, got 21; .*\['history'\]\['test'\]"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(change, message, checkpointed):
    before = checkpointed.read_bytes()
    with pytest.raises(ValueError, match=message):
        single(checkpoint=checkpointed, **change)
    assert checkpointed.read_bytes() == before


@pytest.fixture(scope="module")
def checkpointed(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "run.npz"
    with pytest.raises(KeyboardInterrupt):
        single(checkpoint=path, callback=interrupt_at(4))
    return path


def test_there_must_be_a_host(tmp_path):
    with pytest.raises(ValueError, match="checkpoint must be None under jit or vmap"):
        jax.vmap(lambda key: single(key=key, checkpoint=tmp_path / "a.npz"))(KEYS)


TREE = {
    "bfloat16": jnp.array([1.1, -0.0, np.nan], jnp.bfloat16),
    "bool": jnp.array([True, False]),
    "empty": jnp.zeros((0, 3)),
    "int8": (jnp.array(-3, jnp.int8), None),
    "key": jax.random.split(jax.random.key(1), 2),
    "other key": jax.random.key(1, impl="rbg"),
    "a/b [c]": jnp.array([np.inf, 1e-45], jnp.float32),
}


def test_any_tree_comes_back_bit_by_bit(tmp_path):
    path = tmp_path / "tree.npz"
    train.save_checkpoint(path, TREE, {"note": [1, None, "x"]})
    for like in (TREE, jax.eval_shape(lambda: TREE)):
        back = train.load_checkpoint(path, like)
        assert jax.tree.structure(back) == jax.tree.structure(TREE)
        assert bits(back) == bits(TREE)
    assert train.read_about(path) == {"note": [1, None, "x"]}
    with jax.enable_x64(True):
        train.save_checkpoint(path, np.arange(3.0) / 3)
        back = train.load_checkpoint(path, np.zeros(3))
        np.testing.assert_array_equal(back, np.arange(3.0) / 3)
    with pytest.raises(ValueError, match=r"dtype float32, got .* dtype float64"):
        train.load_checkpoint(path, jnp.zeros(3))


@pytest.mark.parametrize(
    ("like", "message"),
    [
        ({"w": jnp.zeros(3)}, r"expected \['w'\] of shape \(3,\) .*, got .* \(2,\)"),
        ({"v": jnp.zeros(2)}, r"expected \['v'\]"),
        ({"w": jnp.zeros(2, int)}, "dtype int32, got .* dtype float32"),
        ({"v": jnp.zeros(2), "w": jnp.zeros(2)}, r"expected \['v'\]"),
        (
            {"w": jnp.zeros(2), "x": jnp.zeros(2)},
            r"expected 2 arrays, got 1; .*\['x'\]",
        ),
    ],
)
def test_a_tree_of_another_form_is_refused(like, message, tmp_path):
    train.save_checkpoint(tmp_path / "a.npz", {"w": jnp.ones(2)})
    with pytest.raises(ValueError, match=message):
        train.load_checkpoint(tmp_path / "a.npz", like)


def test_what_is_no_checkpoint_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    with pytest.raises(ValueError, match="must be a checkpoint that jaxdl wrote"):
        train.read_about(path)
    np.savez(path, w=np.ones(3))
    with pytest.raises(ValueError, match="must be a checkpoint that jaxdl wrote"):
        train.load_checkpoint(path, {})
    train.save_checkpoint(path, {"w": jnp.ones(2000)})
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="must be a checkpoint that jaxdl wrote"):
        train.load_checkpoint(path, {"w": jnp.ones(2000)})
