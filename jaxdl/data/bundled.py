"""Small real sets that ship inside scikit-learn, read without a network.

They come in the order of the package, which is sorted by class in part: `split` at
random before you train. scikit-learn is imported when a set is asked for; where it is
not installed, the ImportError names the extra that brings it.
"""

import numpy as np

from jaxdl.data.dataset import Table


def digits() -> Table:
    """Handwritten digits, 8 x 8 pixels, in ten classes.

    Returns:
        x ``(1797, 64)``, pixels in [0, 1] (the stored 0..16 over 16), row by row;
        y ``(1797,)``, the digit 0..9. The inputs have rank 61: three pixels are
        zero in all images.

    References:
        Alpaydin and Kaynak (1998), Optical recognition of handwritten digits, UCI
        Machine Learning Repository.

    Examples:
        >>> table = digits()
        >>> table.x.shape, table.y[:5].tolist()
        ((1797, 64), [0, 1, 2, 3, 4])
    """
    table = _load("load_digits")
    return Table(table.x / 16, table.y)


def diabetes() -> Table:
    """Progress of diabetes one year after ten measurements: a regression.

    Returns:
        x ``(442, 10)``, each column with mean zero and sum of squares one over all
        442 rows; y ``(442,)``, the measure of progress, 25 to 346, as it stands.

    References:
        Efron et al. (2004), Least angle regression.
        https://arxiv.org/abs/math/0406456
    """
    return _load("load_diabetes")


def breast_cancer() -> Table:
    """Malignant (0) or benign (1), from thirty measures of cell nuclei.

    Returns:
        x ``(569, 30)`` in their own, very different units: `standardize` them;
        y ``(569,)``.
    """
    return _load("load_breast_cancer")


def wine() -> Table:
    """Which of three growers made a wine, from thirteen chemical measures.

    Returns:
        x ``(178, 13)`` in their own, very different units: `standardize` them;
        y ``(178,)``, 0..2.
    """
    return _load("load_wine")


# The set that `sklearn.datasets.<name>` returns, or an ImportError that helps.
def _load(name):
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError(
            "this data set ships with scikit-learn, which is not installed; "
            'run: pip install "jaxdl-experiments[data]"'
        ) from error
    x, y = getattr(datasets, name)(return_X_y=True)
    classes = np.issubdtype(y.dtype, np.integer)
    return Table(x.astype(np.float64), y.astype(np.int64 if classes else np.float64))
