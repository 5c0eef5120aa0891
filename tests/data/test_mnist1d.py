# ruff: noqa: NPY002  (the global generator must come out as it was)
import random
import warnings

import numpy as np
import pytest

from jaxdl.data import mnist1d

OTHERS = {
    "padding": (3, 11),
    "scale_coeff": 0.9,
    "max_translation": 23,
    "corr_noise_scale": 0.5,
    "iid_noise_scale": 0.1,
    "shear_scale": 1.5,
    "shuffle_seq": True,
    "final_seq_length": 29,
}


@pytest.fixture(scope="module")
def reference():
    """The authors' generator, its effect on the global generators undone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        package = pytest.importorskip("mnist1d.data")
        utils = pytest.importorskip("mnist1d.utils")

    def make(seed, n_samples, train_fraction, **options):
        args = package.get_dataset_args(as_dict=True) | options
        args |= {"seed": seed, "num_samples": n_samples, "train_split": train_fraction}
        state, numpy_state = random.getstate(), np.random.get_state()
        try:
            return package.make_dataset(utils.ObjectView(args))
        finally:
            random.setstate(state)
            np.random.set_state(numpy_state)

    return make


@pytest.mark.parametrize(
    ("seed", "n_samples", "train_fraction", "options"),
    [
        (42, 1000, 0.8, {}),
        (7, 300, 0.33, OTHERS),
        (0, 10, 0.5, {"shuffle_seq": True}),
        # An odd number of steps leaves half a pair of normal numbers to the next row.
        (3, 200, 0.25, {"padding": (0, 1), "max_translation": 13}),
        (5, 100, 0.5, {"padding": (0, 0), "max_translation": 1, "final_seq_length": 1}),
        (6, 100, 0.5, {"final_seq_length": 200}),
    ],
)
def test_equals_the_authors_package(
    reference, seed, n_samples, train_fraction, options
):
    got = mnist1d(seed, n_samples, train_fraction, **options)
    want = reference(seed, n_samples, train_fraction, **options)
    np.testing.assert_allclose(got.x_train, want["x"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(got.x_test, want["x_test"], rtol=0, atol=1e-12)
    np.testing.assert_array_equal(got.y_train, want["y"])
    np.testing.assert_array_equal(got.y_test, want["y_test"])


def test_the_published_set_starts_as_it_does():
    data = mnist1d()
    want = [-0.33200567, -0.47191037, -0.77869708]  # mnist1d 0.0.2.post1, seed 42
    np.testing.assert_allclose(data.x_train[0, :3], want, atol=1e-8)
    assert data.y_train[:5].tolist() == [2, 6, 4, 5, 6]
    assert data.x_train.shape == (4000, 40)
    assert data.y_test.shape == (1000,)
    assert data.x_test.dtype == np.float64
    assert data.y_test.dtype == np.int64
    assert data.classes.tolist() == list(range(10))


def test_is_standardized_and_balanced_as_a_whole():
    data = mnist1d(1, 200, 0.3)
    x = np.concatenate([data.x_train, data.x_test])
    y = np.concatenate([data.y_train, data.y_test])
    np.testing.assert_allclose([x.mean(), x.std()], [0, 1], atol=1e-12)
    assert np.bincount(y).tolist() == [20] * 10


def test_is_repeatable_and_leaves_the_global_generators_alone():
    before, numpy_before = random.getstate(), np.random.get_state()
    first, second, other = mnist1d(1, 50), mnist1d(1, 50), mnist1d(2, 50)
    np.testing.assert_array_equal(first.x_train, second.x_train)
    assert not np.array_equal(first.x_train, other.x_train)
    assert random.getstate() == before
    np.testing.assert_equal(np.random.get_state(), numpy_before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_samples": 0}, "n_samples must be a positive multiple of 10, got 0"),
        ({"n_samples": 1234}, "n_samples must be .* got 1234"),
        ({"train_fraction": 1.0}, "train_fraction must leave rows"),
        ({"train_fraction": 1e-9}, "train_fraction must leave rows"),
        ({"padding": (5, 4)}, "padding must be"),
        ({"padding": (-1, 4)}, "padding must be"),
        ({"max_translation": 73}, r"max_translation must lie in 1\.\.72, got 73"),
        ({"max_translation": 0}, "max_translation must lie in"),
        ({"final_seq_length": 0}, "final_seq_length must be >= 1"),
        ({"corr_noise_scale": -0.1}, "corr_noise_scale and iid_noise_scale"),
        ({"iid_noise_scale": -0.1}, "corr_noise_scale and iid_noise_scale"),
        ({"seed": -1}, "Seed must be between"),
    ],
)
def test_rejects_what_is_outside_its_domain(options, message):
    with pytest.raises(ValueError, match=message):
        mnist1d(**options)
