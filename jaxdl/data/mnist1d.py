"""MNIST-1D: ten noisy one-dimensional shapes, small enough to train on in seconds."""

import numpy as np

from jaxdl.data.dataset import Dataset

_TEMPLATES = np.array([
    [5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5],
    [5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5],
    [5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5],
    [5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5],
    [5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5],
    [5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5],
    [5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5],
    [5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5],
    [5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5],
    [5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5],
])  # (10, 12), the outline of each digit as a signal
_SHIFT = 1e-8  # marks the shape's own zeros as signal, not as padding
_BLUR = 2.0  # standard deviation of the Gaussian blur, in time steps
_BLUR_RADIUS = 8  # four standard deviations


def mnist1d(
    seed: int = 42,
    n_samples: int = 5000,
    train_fraction: float = 0.8,
    *,
    padding: tuple[int, int] = (36, 60),
    scale_coeff: float = 0.4,
    max_translation: int = 48,
    corr_noise_scale: float = 0.25,
    iid_noise_scale: float = 2e-2,
    shear_scale: float = 0.75,
    shuffle_seq: bool = False,
    final_seq_length: int = 40,
) -> Dataset:
    """Generate MNIST-1D, number for number as its authors' package does.

    Each example starts as its class's shape of 12 points and is padded with zeros,
    stretched to ``m = 12 + padding[1]`` steps, scaled, rotated in time, filled with
    smooth noise where it is zero, roughened with white noise everywhere, tilted, and
    resampled. The whole set, training and test rows together, is then shifted and
    scaled to mean 0 and standard deviation 1 over all its entries.

    The random numbers come from a ``numpy.random.RandomState(seed)`` of its own, in
    the order in which ``mnist1d.data.make_dataset`` (version 0.0.2.post1) uses the
    global one. The names of the options are that package's as well.

    Args:
        seed: 0..2^32 - 1; 42 is the seed of the published set.
        n_samples: Rows in all, a multiple of 10; every class gets a tenth of them.
        train_fraction: Share of the rows, rounded down, that go to training. The rows
            are in random order, so the classes are balanced on average only.
        padding: Least and greatest number of zeros appended to the 12 points.
        scale_coeff: Amplitudes are uniform in ``1 -+ scale_coeff / 2``.
        max_translation: Rotations are uniform in 0..max_translation-1 steps, at most m.
        corr_noise_scale: Standard deviation of the smooth noise before it is blurred.
        iid_noise_scale: Standard deviation of the white noise.
        shear_scale: Tilts, from end to end, are uniform in ``-+ shear_scale / 2``.
        shuffle_seq: Permute the time steps, alike in all rows: the same information
            without locality.
        final_seq_length: Steps of the result.

    Returns:
        x ``(., final_seq_length)`` float64 and y ``(.,)`` int64 in 0..9, for training
        and for testing.

    Raises:
        ValueError: If an argument is outside its domain, or one of the two parts
            would be empty.

    References:
        Greydanus and Kobak (2020), Scaling down deep learning with MNIST-1D.
        https://arxiv.org/abs/2011.14439

    Examples:
        >>> data = mnist1d(n_samples=100)
        >>> data.x_train.shape, data.y_test[:5].tolist()
        ((80, 40), [9, 3, 9, 3, 1])
    """
    n_train = int(n_samples * train_fraction)
    steps = _TEMPLATES.shape[1] + padding[1]
    if n_samples < 10 or n_samples % 10:
        raise ValueError(
            f"n_samples must be a positive multiple of 10, got {n_samples}"
        )
    if not 0 < n_train < n_samples:
        raise ValueError(
            "train_fraction must leave rows to train and to test on, "
            f"got {train_fraction} of {n_samples}"
        )
    if not 0 <= padding[0] <= padding[1]:
        raise ValueError(f"padding must be 0 <= least <= greatest, got {padding}")
    if not 1 <= max_translation <= steps:
        raise ValueError(
            f"max_translation must lie in 1..{steps}, got {max_translation}"
        )
    if final_seq_length < 1:
        raise ValueError(f"final_seq_length must be >= 1, got {final_seq_length}")
    if min(corr_noise_scale, iid_noise_scale) < 0:
        raise ValueError(
            "corr_noise_scale and iid_noise_scale must be >= 0, "
            f"got {corr_noise_scale} and {iid_noise_scale}"
        )

    random = np.random.RandomState(seed)
    pads = np.empty(n_samples, int)
    scales, shears = np.empty((2, n_samples))
    rotations = np.empty(n_samples, int)
    noise = np.empty((n_samples, 2, steps))
    for i in range(n_samples):
        pads[i] = padding[0] + int(random.rand() * (padding[1] - padding[0] + 1))
        scales[i] = 1 + scale_coeff * (random.rand() - 0.5)
        rotations[i] = random.randint(max_translation)
        noise[i] = random.randn(2, steps)
        shears[i] = shear_scale * (random.rand() - 0.5)
    order = random.permutation(n_samples)

    labels = np.repeat(np.arange(10), n_samples // 10)
    shapes = _stretched_shapes(padding, steps)
    x = shapes[labels, pads - padding[0]] * scales[:, None]
    x = x[
        np.arange(n_samples)[:, None], (np.arange(steps) - rotations[:, None]) % steps
    ]
    x = np.where(x == 0, _blur(corr_noise_scale * noise[:, 0]), x)
    x += iid_noise_scale * noise[:, 1]
    x -= shears[:, None] * np.linspace(-0.5, 0.5, steps)
    x = _resample(x, final_seq_length)[order]
    if shuffle_seq:
        x = x[:, random.permutation(final_seq_length)]
    x = (x - x.mean()) / x.std()
    y = labels[order]
    return Dataset(x[:n_train], y[:n_train], x[n_train:], y[n_train:], np.arange(10))


def _stretched_shapes(padding, steps):
    """``(10, paddings, steps)``: every class's shape under every padding.

    By ``np.interp``, whose rounding decides where the result is exactly zero.
    """
    shapes = _TEMPLATES - _TEMPLATES.mean(axis=1, keepdims=True)
    shapes /= shapes.std(axis=1, keepdims=True)
    shapes = (shapes - shapes[:, :1]) / 6 + _SHIFT
    times = np.linspace(0, 1, steps)

    def stretched(shape, pad):
        padded = np.concatenate([shape, np.zeros(pad)])
        return np.interp(times, np.linspace(0, 1, len(padded)), padded)

    pads = range(padding[0], padding[1] + 1)
    return np.array([[stretched(shape, pad) for pad in pads] for shape in shapes])


def _blur(signals):
    """Gaussian blur along the last axis; beyond its ends the signal is mirrored."""
    steps = signals.shape[-1]
    offsets = np.arange(-_BLUR_RADIUS, _BLUR_RADIUS + 1)
    weights = np.exp(-0.5 * (offsets / _BLUR) ** 2)
    padded = np.pad(signals, ((0, 0), (_BLUR_RADIUS, _BLUR_RADIUS)), mode="symmetric")
    return sum(
        weight * padded[:, i : i + steps]
        for i, weight in enumerate(weights / weights.sum())
    )


def _resample(signals, n_steps):
    """Linear interpolation to ``n_steps`` points, first and last included."""
    last = signals.shape[-1] - 1
    position = np.linspace(0, 1, n_steps) * last
    left = np.minimum(position.astype(int), last - 1)
    fraction = position - left
    return (1 - fraction) * signals[:, left] + fraction * signals[:, left + 1]
