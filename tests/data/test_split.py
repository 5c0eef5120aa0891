import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.data import Table, split, split_indices

KEY = jax.random.key(1)
RNG = np.random.default_rng(0)
N = 40
X = RNG.normal(size=(N, 2, 3)).astype(np.float32)
Y = np.arange(N) % 4


def test_the_two_parts_hold_each_row_once():
    train, test = map(np.asarray, split_indices(KEY, N, 25))
    assert (len(train), len(test)) == (25, 15)
    assert sorted([*train, *test]) == list(range(N))
    assert not np.array_equal(train, np.sort(train))


def test_training_rows_are_nested_in_their_number():
    few, many = (split_indices(KEY, N, n)[0] for n in (10, 30))
    np.testing.assert_array_equal(few, many[:10])


def test_every_row_is_as_likely_to_be_trained_on():
    def trained(key):
        return jnp.zeros(N).at[split_indices(key, N, 10)[0]].set(1.0)

    share = jax.vmap(trained)(jax.random.split(KEY, 2000)).mean(axis=0)
    np.testing.assert_allclose(share, 0.25, atol=0.045)  # 4.6 standard errors


def test_vmap_over_keys_equals_a_loop_and_jits():
    keys = jax.random.split(KEY, 3)
    indices = jax.jit(jax.vmap(split_indices, (0, None, None)), static_argnums=(1, 2))
    train, test = indices(keys, N, 25)
    for i in range(3):
        want_train, want_test = split_indices(keys[i], N, 25)
        np.testing.assert_array_equal(train[i], want_train)
        np.testing.assert_array_equal(test[i], want_test)


@pytest.mark.parametrize("n_train", [0, N, N + 1, -1])
def test_rejects_a_part_without_rows(n_train):
    with pytest.raises(ValueError, match=r"n_train must lie in 1\.\.39 for 40 rows"):
        split_indices(KEY, N, n_train)
    with pytest.raises(ValueError, match=r"n_train must lie in 1\.\.39 for 40 rows"):
        split(KEY, Table(X, Y), n_train)


def test_rows_stay_with_their_targets():
    data = split(KEY, Table(X, Y), 25)
    train, test = map(np.asarray, split_indices(KEY, N, 25))
    np.testing.assert_array_equal(data.x_train, X[train])
    np.testing.assert_array_equal(data.y_train, Y[train])
    np.testing.assert_array_equal(data.x_test, X[test])
    np.testing.assert_array_equal(data.y_test, Y[test])


def test_arrays_come_out_in_numpy_with_their_dtypes():
    data = split(KEY, Table(jnp.asarray(X), jnp.asarray(Y, jnp.int32)), 25)
    assert all(isinstance(array, np.ndarray) for array in data)
    assert data.x_train.dtype == np.float32
    assert data.y_test.dtype == np.int32
    assert data.classes.tolist() == [0, 1, 2, 3]


def test_classes_are_counted_over_the_whole_set():
    train, test = split_indices(KEY, N, 25)
    for row in (train[0], test[0]):
        y = np.zeros(N, int)
        y[row] = 1  # in one part only
        assert split(KEY, Table(X, y), 25).classes.tolist() == [0, 1]


def test_a_regression_has_no_classes():
    assert split(KEY, Table(X, Y + 0.5), 25).classes is None


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (
            X,
            Y[:-1],
            r"expected x \(n, ...\) and y \(n,\), got \(40, 2, 3\) and \(39,\)",
        ),
        (X, Y[:, None], r"expected x \(n, ...\) and y \(n,\)"),
        (np.zeros(()), Y, r"expected x \(n, ...\) and y \(n,\)"),
        (X, Y + 1, r"numbered 0\.\.k-1, got \[1 2 3 4\]"),
        (X, 2 * Y, r"numbered 0\.\.k-1, got \[0 2 4 6\]"),
    ],
)
def test_rejects_a_table_that_does_not_fit(x, y, message):
    with pytest.raises(ValueError, match=message):
        split(KEY, Table(x, y), 25)
