import sys

import numpy as np
import pytest

from jaxdl.data import breast_cancer, diabetes, digits, wine

sklearn_datasets = pytest.importorskip("sklearn.datasets")

CLASSES = [
    (digits, (1797, 64), 10),
    (breast_cancer, (569, 30), 2),
    (wine, (178, 13), 3),
]


@pytest.mark.parametrize(("load", "shape", "k"), CLASSES)
def test_shapes_dtypes_and_classes_from_0(load, shape, k):
    x, y = load()
    assert x.shape == shape
    assert x.dtype == np.float64
    assert y.dtype == np.int64
    np.testing.assert_array_equal(np.unique(y), np.arange(k))


def test_digits_are_the_images_scaled_to_the_unit_interval():
    x, y = digits()
    raw = sklearn_datasets.load_digits()
    np.testing.assert_array_equal(x.reshape(-1, 8, 8) * 16, raw.images)
    np.testing.assert_array_equal(y, raw.target)
    assert x.min() == 0
    assert x.max() == 1


def test_digits_have_rank_61_for_three_dead_pixels():
    x = digits().x
    assert np.linalg.matrix_rank(x) == 61
    assert np.sum(~x.any(axis=0)) == 3


def test_breast_cancer_calls_malignant_0():
    assert np.bincount(breast_cancer().y).tolist() == [212, 357]


def test_wine_has_the_growers_counts():
    assert np.bincount(wine().y).tolist() == [59, 71, 48]


def test_diabetes_is_a_regression_on_standardized_columns():
    x, y = diabetes()
    assert x.shape == (442, 10)
    assert y.shape == (442,)
    assert y.dtype == np.float64
    assert (y.min(), y.max()) == (25, 346)
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(np.sum(x**2, axis=0), 1, rtol=1e-12)


@pytest.mark.parametrize("load", [digits, diabetes, breast_cancer, wine])
def test_without_scikit_learn_the_error_names_the_extra(load, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r'pip install "jaxdl-experiments\[data\]"'):
        load()
