import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import losses, optim, train

RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 3)).astype(np.float32)
Y = RNG.normal(size=(20, 1)).astype(np.float32)
KEYS = jax.random.split(jax.random.key(0), 4)
ROWS = np.asarray(jax.vmap(lambda key: train.bootstrap_rows(key, 20))(KEYS))


def apply(w, x):
    return x @ w


LOSS = train.supervised(apply, losses.squared_error)
ZERO = np.zeros((4, 3, 1), np.float32)


def test_the_share_in_the_bag():
    """In n draws of n a row is left out with probability (1 - 1/n)**n."""
    keys = jax.random.split(jax.random.key(1), 4000)
    rows = jax.vmap(lambda key: train.bootstrap_rows(key, 20))(keys)
    out = jax.vmap(lambda rows: train.out_of_bag(rows, 20))(rows)
    assert rows.shape == (4000, 20)
    assert rows.dtype == jnp.int32
    expected = (1 - 1 / 20) ** 20
    deviation = np.sqrt(expected * (1 - expected) / 4000)
    assert np.abs(np.mean(out, 0) - expected).max() < 4 * deviation
    counts = np.bincount(np.ravel(rows), minlength=20)
    assert np.abs(counts - 4000).max() < 4 * np.sqrt(4000)


def test_out_of_bag_by_hand():
    for rows in ROWS:
        expected = ~np.isin(np.arange(20), rows)
        np.testing.assert_array_equal(train.out_of_bag(rows, 20), expected)


def test_a_subset_has_no_row_twice():
    rows = np.asarray(train.subset_rows(KEYS[0], 20, 15))
    assert len(np.unique(rows)) == 15
    assert rows.max() < 20
    assert not np.array_equal(rows, train.subset_rows(KEYS[1], 20, 15))


@pytest.mark.parametrize("batch_size", [None, 7])
def test_members_equal_runs_on_data_of_their_own(batch_size):
    settings = {"steps": 9, "batch_size": batch_size, "record_every": 3}
    together = train.fit_ensemble(
        KEYS, LOSS, ZERO, optim.sgd(0.1), (X, Y), rows=ROWS, **settings
    )
    for member, (key, rows) in enumerate(zip(KEYS, ROWS, strict=True)):
        own = (X[rows], Y[rows])
        alone = train.fit(key, LOSS, ZERO[0], optim.sgd(0.1), own, **settings)
        np.testing.assert_allclose(together.params[member], alone.params, rtol=1e-5)
        by_rows = train.fit(
            key, LOSS, ZERO[0], optim.sgd(0.1), (X, Y), rows=rows, **settings
        )
        np.testing.assert_allclose(by_rows.params, alone.params, rtol=1e-6)


def test_data_are_not_copied_for_each_member():
    """The program of 4 members with batches needs less room than 4 copies."""
    wide = np.zeros((20_000, 64), np.float32)

    def train_all(data, rows):
        return jax.vmap(
            lambda key, rows: (
                train.fit(
                    key,
                    lambda w, state, batch, key: (
                        jnp.sum(w * jnp.mean(batch)),
                        (state, {}),
                    ),
                    jnp.ones(3),
                    optim.sgd(0.1),
                    data,
                    rows=rows,
                    steps=3,
                    batch_size=7,
                ).params
            )
        )(KEYS, rows)

    rows = np.zeros((4, 20_000), np.int32)
    program = jax.jit(train_all).lower(wide, rows).compile()
    assert program.memory_analysis().temp_size_in_bytes < wide.nbytes


def test_the_loss_of_the_mean_is_at_most_the_mean_of_the_losses():
    run = train.fit_ensemble(
        KEYS, LOSS, ZERO, optim.sgd(0.1), (X, Y), rows=ROWS, steps=100
    )
    outputs = np.einsum("nd,mdk->mnk", X, run.params)
    each = np.mean((outputs - Y) ** 2, (1, 2))
    assert np.mean((outputs.mean(0) - Y) ** 2) < each.mean()


def test_wrong_calls_say_what_is_wrong():
    with pytest.raises(ValueError, match="n and size must be positive, got 20 and 0"):
        train.bootstrap_rows(KEYS[0], 20, 0)
    with pytest.raises(ValueError, match=r"size must lie in 1\.\.20, got 21"):
        train.subset_rows(KEYS[0], 20, 21)
    call = (KEYS, LOSS, ZERO, optim.sgd(0.1), (X, Y))
    with pytest.raises(ValueError, match="rows must have a leading axis of 4 members"):
        train.fit_ensemble(*call, rows=ROWS[0], steps=1)
    with pytest.raises(ValueError, match=r"rows must be \(r,\) integers"):
        train.fit_ensemble(*call, rows=ROWS * 1.0, steps=1)
    with pytest.raises(ValueError, match=r"batch_size must lie in 1\.\.20, got 21"):
        train.fit_ensemble(*call, rows=ROWS, steps=1, batch_size=21)
