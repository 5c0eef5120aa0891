"""Callbacks at chunk ends, and curvature along training without recompiling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import curvature, losses, optim, train

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 3)).astype(np.float32)
Y = (X @ RNG.normal(size=(3, 2))).astype(np.float32)
W = RNG.normal(size=(3, 2)).astype(np.float32)
KEY = jax.random.key(0)


def apply(w, x):
    return jnp.tanh(x @ w)


LOSS = train.supervised(apply, losses.squared_error)


def fit(steps=12, **settings):
    settings = {"chunk": 4} | settings
    return train.fit(KEY, LOSS, W, optim.sgd(0.1), (X, Y), steps=steps, **settings)


def test_the_callback_sees_where_training_is():
    seen = []
    run = fit(callback=seen.append)
    assert [snapshot.step for snapshot in seen] == [4, 8, 12]
    np.testing.assert_array_equal(seen[-1].params, run.params)
    np.testing.assert_allclose(seen[1].params, fit(8).params, rtol=1e-6)
    losses = np.concatenate([snapshot.history["loss"] for snapshot in seen])
    np.testing.assert_array_equal(losses, run.history["loss"])


def test_training_stops_if_the_callback_says_so():
    run = fit(callback=lambda snapshot: snapshot.step == 8)
    np.testing.assert_array_equal(run.steps, np.arange(1, 9))
    np.testing.assert_allclose(run.params, fit(8).params, rtol=1e-6)


def test_curvature_is_tracked_without_recompiling():
    traces = []

    def loss(w, batch):
        traces.append(1)
        return LOSS(w, None, batch, KEY)[0]

    def measure(w):
        operator = curvature.hvp(loss, w, (X, Y))
        return curvature.sharpness(operator, KEY)

    tracker = train.Tracker(measure)
    fit(4, callback=tracker)
    once = len(traces)
    run = fit(40, callback=tracker)
    assert len(traces) == once
    assert tracker.steps == [4, *range(4, 41, 4)]
    found = tracker.stacked()
    assert isinstance(found.value, np.ndarray)
    assert found.converged.all()
    dense = np.linalg.eigvalsh(curvature.hessian(loss, run.params, (X, Y)))
    np.testing.assert_allclose(found.value[-1], dense[-1], rtol=1e-4)


def test_members_of_an_ensemble_are_tracked_together():
    tracker = train.Tracker(lambda w: jnp.sum(w**2, (1, 2)))
    run = train.fit_ensemble(
        jax.random.split(KEY, 2),
        LOSS,
        np.stack([W, 2 * W]),
        optim.sgd(0.1),
        (X, Y),
        steps=6,
        chunk=3,
        callback=tracker,
    )
    assert tracker.stacked().shape == (2, 2)
    np.testing.assert_allclose(
        tracker.values[-1], np.sum(np.asarray(run.params) ** 2, (1, 2)), rtol=1e-6
    )


def test_a_callback_needs_a_host():
    with pytest.raises(ValueError, match="callback must be None under jit or vmap"):
        jax.jit(
            lambda w: train.fit(
                KEY, LOSS, w, optim.sgd(0.1), (X, Y), steps=2, callback=print
            )
        )(W)
    with pytest.raises(ValueError, match="nothing has been measured"):
        train.Tracker(jnp.abs).stacked()
