"""Stopping inside the compiled scan, and going back to the best record."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import optim, train

KEY = jax.random.key(0)
DATA = np.zeros((1, 1), np.float32)
# What evaluation finds after each update, whatever the parameters.
CURVE = np.array([5, 4, 3, 3.5, 3.2, np.nan, 2.95, 2, 9, 9, 9, 9], np.float32)


def loss(w, state, batch, key):
    """The parameter goes down by 1 at each update of sgd(1); the state counts."""
    return jnp.sum(w) + 0 * jnp.sum(batch), (state + 1, {})


def evaluate(w, state, curve):
    return {"found": curve[state - 1], "w": w, "zero": 0.0 * w}


def fit(steps=12, curve=CURVE, **rule):
    rule = train.EarlyStopping(**({"metric": "found", "patience": 3} | rule))
    return train.fit(
        KEY,
        loss,
        jnp.zeros(()),
        optim.sgd(1.0),
        DATA,
        state=jnp.zeros((), jnp.int32),
        evaluate=evaluate,
        held_out=jnp.asarray(curve),
        steps=steps,
        early_stopping=rule,
    )


def by_hand(curve, patience, min_delta=0.0):
    best, best_step = np.inf, 0
    for step, value in enumerate(curve, 1):
        if value < best - min_delta:
            best, best_step = value, step
        elif step - best_step >= patience:
            return best_step, step
    return best_step, 0


@pytest.mark.parametrize("patience", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("min_delta", [0.0, 0.1])
def test_it_stops_where_a_loop_in_numpy_stops(patience, min_delta):
    run = fit(patience=patience, min_delta=min_delta)
    best_step, stopped_at = by_hand(CURVE, patience, min_delta)
    assert (int(run.best_step), int(run.stopped_at)) == (best_step, stopped_at)
    assert float(run.params) == -best_step
    assert int(run.state) == best_step
    end = stopped_at or 12
    expected = np.where(np.arange(1, 13) <= end, -np.arange(1.0, 13), np.nan)
    np.testing.assert_array_equal(run.history["w"], expected)


def test_patience_is_counted_in_records():
    run = train.fit(
        KEY,
        loss,
        jnp.zeros(()),
        optim.sgd(1.0),
        DATA,
        state=jnp.zeros((), jnp.int32),
        evaluate=lambda w, state, curve: {"found": curve[state // 4 - 1]},
        held_out=jnp.array([3.0, 2.0, 4.0, 4.0, 1.0]),
        steps=20,
        record_every=4,
        early_stopping=train.EarlyStopping("found", patience=2),
    )
    assert (int(run.best_step), int(run.stopped_at)) == (8, 16)
    assert float(run.params) == -8


def test_more_can_be_better():
    run = fit(curve=-CURVE, maximize=True)
    assert (int(run.best_step), int(run.stopped_at)) == by_hand(CURVE, 3)


def test_a_metric_that_is_never_a_number_keeps_the_last_parameters():
    run = fit(curve=np.full(12, np.nan, np.float32), patience=5)
    assert (int(run.best_step), int(run.stopped_at)) == (0, 5)
    assert float(run.params) == -5


def test_members_stop_alone_and_the_run_ends_when_all_have():
    curves = np.stack([CURVE, np.arange(12.0), -np.arange(12.0)]).astype(np.float32)

    def run(members, callback=None):
        return train.fit_ensemble(
            jax.random.split(KEY, 3)[:members],
            loss,
            jnp.zeros(members),
            optim.sgd(1.0),
            DATA,
            state=jnp.zeros(members, jnp.int32),
            evaluate=evaluate,
            held_out=jnp.asarray(curves[:members]),
            held_out_axes=0,
            steps=12,
            chunk=2,
            early_stopping=train.EarlyStopping("found", patience=2),
            callback=callback,
        )

    seen = []
    together = run(3, seen.append)
    np.testing.assert_array_equal(together.stopped_at, [5, 3, 0])
    np.testing.assert_array_equal(together.best_step, [3, 1, 12])
    np.testing.assert_array_equal(together.params, [-3, -1, -12])
    np.testing.assert_array_equal(together.failed_at, 0)
    np.testing.assert_array_equal(seen[1].stopped_at, [0, 3, 0])
    np.testing.assert_array_equal(seen[2].params, [-5, -3, -6])  # where it is
    assert np.isnan(together.history["w"][0, 5:]).all()
    assert together.history["w"].shape == (3, 12)
    assert run(2).history["w"].shape == (2, 6)  # ends with the chunk of update 5


def in_order(key, first_step, n_steps, n, batch_size):
    return (first_step + jnp.arange(n_steps))[:, None]


def test_a_run_that_has_stopped_cannot_fail_any_more():
    """The loss of the fourth example is infinite."""

    def run(patience):
        return train.fit(
            KEY,
            lambda w, state, batch, key: (jnp.sum(w * batch), (state, {})),
            jnp.ones(()),
            optim.sgd(1.0),
            np.array([1, 1, 1, np.inf], np.float32),
            steps=4,
            batch_size=1,
            sampler=in_order,
            evaluate=lambda w, *_: {"found": -w},
            early_stopping=train.EarlyStopping("found", patience=patience),
        )

    stopped = run(2)
    assert (int(stopped.stopped_at), int(stopped.failed_at)) == (3, 0)
    with pytest.warns(RuntimeWarning, match="update 4 was not finite"):
        failed = run(3)
    assert (int(failed.stopped_at), int(failed.failed_at)) == (0, 4)


def test_after_a_failure_the_best_parameters_are_given():
    """The third update is not finite; the second record was the worse."""

    def explodes(w, state, batch, key):
        return jnp.where(state >= 2, jnp.inf, jnp.sum(w)), (state + 1, {})

    with pytest.warns(RuntimeWarning, match="update 3 was not finite"):
        run = train.fit(
            KEY,
            explodes,
            jnp.zeros(()),
            optim.sgd(1.0),
            DATA,
            steps=6,
            chunk=3,
            state=jnp.zeros((), jnp.int32),
            evaluate=lambda w, *_: {"found": -w},
            early_stopping=train.EarlyStopping("found", patience=6),
        )
    assert (int(run.failed_at), int(run.best_step), int(run.stopped_at)) == (3, 1, 0)
    assert float(run.params) == -1


def test_under_vmap_of_the_caller():
    together = jax.vmap(lambda curve: fit(curve=curve))(np.stack([CURVE, -CURVE]))
    np.testing.assert_array_equal(together.best_step, [3, by_hand(-CURVE, 3)[0]])
    np.testing.assert_array_equal(together.params, -together.best_step)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"patience": 0}, "patience must be a positive integer, got 0"),
        ({"min_delta": -1.0}, "min_delta must be finite and >= 0, got -1.0"),
        ({"metric": "lost"}, r"metric must be one of \['found', 'loss', 'w', 'zero'\]"),
    ],
)
def test_wrong_rules_say_what_is_wrong(rule, message):
    with pytest.raises(ValueError, match=message):
        fit(**rule)


def test_a_metric_that_is_no_scalar_is_refused():
    with pytest.raises(ValueError, match="must be a scalar, got shape"):
        train.fit(
            KEY,
            loss,
            jnp.zeros(()),
            optim.sgd(1.0),
            DATA,
            steps=1,
            state=0,
            evaluate=lambda *_: {"found": jnp.zeros(2)},
            early_stopping=train.EarlyStopping("found", patience=1),
        )
    with pytest.raises(ValueError, match="must be an EarlyStopping, got 3"):
        train.fit(
            KEY, loss, 0.0, optim.sgd(1.0), DATA, steps=1, state=0, early_stopping=3
        )
