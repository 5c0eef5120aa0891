"""Data sets that ship in packages, are generated, or are a user's own file."""

from jaxdl.data.bundled import breast_cancer, diabetes, digits, wine
from jaxdl.data.dataset import Dataset, Table
from jaxdl.data.label_noise import flip_labels, redraw_labels
from jaxdl.data.mnist1d import mnist1d
from jaxdl.data.npz import load_npz
from jaxdl.data.preprocess import Standardization, standardize, standardize_fit
from jaxdl.data.split import split, split_indices
from jaxdl.data.toy import (
    LinearGaussian,
    blobs,
    linear_gaussian,
    sine_regression,
    spirals,
    two_moons,
    xor,
)

__all__ = [
    "Dataset",
    "LinearGaussian",
    "Standardization",
    "Table",
    "blobs",
    "breast_cancer",
    "diabetes",
    "digits",
    "flip_labels",
    "linear_gaussian",
    "load_npz",
    "mnist1d",
    "redraw_labels",
    "sine_regression",
    "spirals",
    "split",
    "split_indices",
    "standardize",
    "standardize_fit",
    "two_moons",
    "wine",
    "xor",
]
