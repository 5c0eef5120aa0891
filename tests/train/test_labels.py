import numpy as np
import pytest

from jaxdl import train


def test_class_numbers_pass():
    train.check_labels(np.array([0, 2, 1]), 3)
    train.check_labels(np.zeros((2, 0), int), 3)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 3, 4], r"y must lie in 0\.\.2, got 3 at position 1"),
        ([-1, 0], r"y must lie in 0\.\.2, got -1 at position 0"),
        ([[0, 1], [2, 9]], r"got 9 at position \(1, 1\)"),
        ([0.0, 1.0], "y must be integer classes, got dtype float64"),
    ],
)
def test_what_is_no_class_number_is_named(labels, message):
    with pytest.raises(ValueError, match=message):
        train.check_labels(labels, 3, "y")
