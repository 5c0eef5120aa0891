"""Means of sub-populations, and pooling over the updates of a record."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import losses, optim, train

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 3)).astype(np.float32)
Y = RNG.normal(size=(12, 2)).astype(np.float32)
GROUPS = np.array([0, 0, 2, 0, 2, 2, 2, 3, 0, 0, 3, 2], np.int32)  # none in group 1
W = RNG.normal(size=(3, 2)).astype(np.float32)
KEY = jax.random.key(0)


def apply(w, x):
    return x @ w


def by_hand(values, groups, k):
    return [
        np.mean(values[groups == g]) if np.any(groups == g) else np.nan
        for g in range(k)
    ]


VALUES = np.sum((X @ W - Y) ** 2, 1) / 2


def test_group_means_by_hand():
    got = train.group_means(VALUES, GROUPS, 5)
    np.testing.assert_allclose(got, by_hand(VALUES, GROUPS, 5), rtol=1e-6)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(
        train.group_means(np.array([1, 0, 1]), np.array([0, 0, 1]), 2), [0.5, 1]
    )


def test_a_number_that_is_no_group_counts_nowhere_and_a_nan_in_its_own():
    values, groups = np.array([1.0, 2.0, np.nan, 8.0]), np.array([0, -1, 1, 7])
    np.testing.assert_array_equal(train.group_means(values, groups, 2), [1, np.nan])


def test_vmap_equals_a_loop():
    values = RNG.normal(size=(3, 12)).astype(np.float32)
    together = jax.vmap(lambda v: train.group_means(v, GROUPS, 4))(values)
    for got, row in zip(together, values, strict=True):
        np.testing.assert_allclose(got, train.group_means(row, GROUPS, 4), rtol=1e-6)


def test_in_evaluation():
    evaluate = train.evaluator(
        apply,
        whole=losses.squared_error,
        part=train.by_group(losses.squared_error, 4),
    )
    found = evaluate(W, None, (X, Y, GROUPS))
    np.testing.assert_allclose(found["whole"], np.mean(VALUES), rtol=1e-6)
    np.testing.assert_allclose(found["part"], by_hand(VALUES, GROUPS, 4), rtol=1e-5)


def in_order(key, first_step, n_steps, n, batch_size):
    steps = first_step + jnp.arange(n_steps)
    return (steps[:, None] * batch_size + jnp.arange(batch_size)[None]) % n


def test_a_record_pools_the_examples_of_its_updates():
    """Batches that hold few or none of a group do not count more, nor make it NaN."""
    loss = train.supervised(
        apply, losses.squared_error, part=train.by_group(losses.squared_error, 4)
    )
    run = train.fit(
        KEY,
        loss,
        W,
        optim.sgd(0.0),
        (X, Y, GROUPS),
        steps=12,
        batch_size=3,
        sampler=in_order,
        record_every=4,
    )
    assert run.history["part"].shape == (3, 4)
    for row in run.history["part"]:
        np.testing.assert_allclose(row, by_hand(VALUES, GROUPS, 4), rtol=1e-5)
    halves = train.fit(
        KEY,
        loss,
        W,
        optim.sgd(0.0),
        (X, Y, GROUPS),
        steps=2,
        batch_size=6,
        sampler=in_order,
    ).history["part"]
    np.testing.assert_allclose(halves[0], by_hand(VALUES[:6], GROUPS[:6], 4), rtol=1e-5)
    assert np.isnan(halves[0, 3])


def test_wrong_calls_say_what_is_wrong():
    with pytest.raises(ValueError, match="n_groups must be a positive integer, got 0"):
        train.by_group(losses.squared_error, 0)
    with pytest.raises(ValueError, match=r"expected values \(n,\) and groups \(n,\)"):
        train.group_means(VALUES, GROUPS[:3], 4)
    with pytest.raises(ValueError, match="groups must be integers, got dtype float32"):
        train.group_means(VALUES, GROUPS.astype(np.float32), 4)
    part = train.by_group(losses.squared_error, 4)
    with pytest.raises(ValueError, match=r"data must be \(x, y, groups\) for by_group"):
        train.evaluator(apply, part=part)(W, None, (X, Y))
