from functools import partial

import jax
import numpy as np
import pytest

from jaxdl import train

KEY = jax.random.key(3)
batches = jax.jit(train.epoch_batches, static_argnums=(2, 3, 4))


def test_an_epoch_sees_every_example_once():
    rows = np.asarray(batches(KEY, 0, 9, 12, 4))  # three epochs of three batches
    for epoch in rows.reshape(3, 12):
        np.testing.assert_array_equal(np.sort(epoch), np.arange(12))
    assert not np.array_equal(rows[:3], rows[3:6])


def test_what_is_left_over_of_an_epoch_is_dropped():
    rows = np.asarray(batches(KEY, 0, 4, 11, 5))  # two batches an epoch
    for epoch in rows.reshape(2, 10):
        assert len(np.unique(epoch)) == 10


@pytest.mark.parametrize("first", [0, 1, 4, 5, 7])
def test_a_step_has_its_batch_wherever_one_starts(first):
    whole = np.asarray(batches(KEY, 0, 12, 11, 5))
    np.testing.assert_array_equal(
        batches(KEY, first, 5, 11, 5), whole[first : first + 5]
    )


def test_vmap_over_keys_equals_a_loop():
    keys = jax.random.split(KEY, 2)
    together = jax.vmap(
        partial(train.epoch_batches, first_step=0, n_steps=4, n=11, batch_size=5)
    )(keys)
    np.testing.assert_array_equal(together[1], batches(keys[1], 0, 4, 11, 5))


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(ValueError, match=r"batch_size must lie in 1\.\.11"):
        train.epoch_batches(KEY, 0, 4, 11, 12)


@pytest.mark.parametrize("first", [0, 3])
def test_random_batches_depend_on_key_and_step_alone(first):
    draw = jax.jit(train.random_batches, static_argnums=(2, 3, 4))
    whole = np.asarray(draw(KEY, 0, 8, 11, 5))
    np.testing.assert_array_equal(draw(KEY, first, 5, 11, 5), whole[first : first + 5])
    other = jax.random.key(4)
    assert not np.array_equal(draw(other, 0, 8, 11, 5), whole)


def test_random_batches_are_uniform_and_independent():
    """Pairs within a step, and of neighbouring steps, as chi-squared has them."""
    n, steps = 7, 20000
    rows = np.asarray(train.random_batches(KEY, 0, steps, n, 2))
    pairs = {"within": (rows[:, 0], rows[:, 1]), "between": (rows[:-1, 0], rows[1:, 0])}
    for one, two in pairs.values():
        seen = np.bincount(n * one + two, minlength=n * n)
        expected = len(one) / n**2
        chi2 = np.sum((seen - expected) ** 2 / expected)
        assert abs(chi2 - (n**2 - 1)) < 4 * np.sqrt(2 * (n**2 - 1))


def test_over_many_epochs_no_row_is_left_over_more_often():
    """Each epoch leaves 1 of 11: a binomial count for each row."""
    epochs = 4000
    rows = np.asarray(batches(KEY, 0, 2 * epochs, 11, 5))
    left = epochs - np.bincount(rows.ravel(), minlength=11)
    deviation = np.sqrt(epochs * (1 / 11) * (10 / 11))
    assert np.abs(left - epochs / 11).max() < 4 * deviation


def test_random_batches_may_be_larger_than_the_data():
    rows = np.asarray(train.random_batches(KEY, 0, 3, 2, 9))
    assert rows.shape == (3, 9)
    assert set(rows.ravel()) == {0, 1}
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        train.random_batches(KEY, 0, 3, 2, 0)
