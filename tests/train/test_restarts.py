import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import optim, train

KEY = jax.random.key(0)
DATA = np.zeros((1, 1), np.float32)


def init(key):
    return jax.random.uniform(key, minval=-2.0, maxval=2.0)


def loss(w, state, batch, key):
    """Two valleys, the left one the lower."""
    return (w**2 - 1) ** 2 + 0.3 * w + 0 * jnp.sum(batch), (state, {"w": w})


def fit(members, optimizer=None, key=KEY, **settings):
    keys, params = train.restarts(key, members, init)
    return train.fit_ensemble(
        keys, loss, params, optimizer or optim.sgd(0.05), DATA, steps=100, **settings
    )


def test_more_restarts_contain_the_fewer():
    keys, params = train.restarts(KEY, 5, init)
    fewer_keys, fewer = train.restarts(KEY, 3, init)
    np.testing.assert_array_equal(params[:3], fewer)
    np.testing.assert_array_equal(
        jax.random.key_data(keys[:3]), jax.random.key_data(fewer_keys)
    )
    assert len(np.unique(params)) == 5
    drawn = jax.vmap(init)(keys)
    assert not np.isin(np.asarray(drawn), np.asarray(params)).any()


def test_the_best_of_more_is_as_good_or_better():
    """From about half of the starts the way is to the wrong valley."""
    first, last = [], []
    for seed in range(6):
        runs = [fit(m, key=jax.random.key(seed)) for m in (1, 2, 8)]
        best = [float(train.best_of(run).history["loss"][-1]) for run in runs]
        assert best == sorted(best, reverse=True)
        first.append(best[0])
        last.append(best[-1])
    assert max(first) > 0.2
    assert max(last) < -0.2


def test_the_best_is_a_run_of_its_own():
    run = fit(8)
    best = train.best_of(run, "w", maximize=True)
    member = int(np.argmax(run.history["w"][:, -1]))
    assert float(best.params) == float(run.params[member])
    np.testing.assert_array_equal(best.history["loss"], run.history["loss"][member])
    np.testing.assert_array_equal(best.steps, run.steps)
    assert best.failed_at.shape == ()


def test_failed_members_are_not_eligible():
    rates = np.array([0.05, 1e30, 0.05], np.float32)
    run = fit(3, optim.sgd, hyperparameters=(rates,))
    assert int(run.failed_at[1]) > 0
    assert int(train.best_of(run).failed_at) == 0
    with pytest.warns(RuntimeWarning, match="not finite"):
        run = fit(3, optim.sgd, hyperparameters=(np.full(3, 1e30, np.float32),))
    with pytest.raises(ValueError, match="no member has a value of 'loss'"):
        train.best_of(run)


def test_under_early_stopping_the_best_record_counts():
    """Parameters go down by 1 an update; member 1 is the best, before it stops."""
    curves = np.array([[3, 2, 9, 9, 9, 1.5], [3, 1, 9, 9, 9, 0]], np.float32)
    run = train.fit_ensemble(
        jax.random.split(KEY, 2),
        lambda w, state, batch, key: (w + 0 * jnp.sum(batch), (state, {})),
        jnp.zeros(2),
        optim.sgd(1.0),
        DATA,
        evaluate=lambda w, _, curve: {"found": curve[-w.astype(int) - 1]},
        held_out=curves,
        held_out_axes=0,
        steps=6,
        early_stopping=train.EarlyStopping("found", patience=3),
    )
    best = train.best_of(run, "found")
    assert (float(best.params), int(best.best_step)) == (-2, 2)
    np.testing.assert_array_equal(best.history["found"][:3], curves[1, :3])


def test_wrong_calls_say_what_is_wrong():
    with pytest.raises(ValueError, match="members must be a positive integer, got 0"):
        train.restarts(KEY, 0, init)
    run = fit(2)
    with pytest.raises(ValueError, match=r"metric must be one of \['loss', 'w'\]"):
        train.best_of(run, "error")
    with pytest.raises(ValueError, match=r"'loss' must be \(m, r\)"):
        train.best_of(train.best_of(run))
