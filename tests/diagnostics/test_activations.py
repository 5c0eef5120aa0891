from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import losses, nn
from jaxdl.diagnostics import activation_gradients, activation_statistics
from jaxdl.models import mlp

RNG = np.random.default_rng(0)
LAYERS = (
    RNG.normal(size=(6, 4)).astype(np.float32),
    np.maximum(RNG.normal(size=(6, 3)), 0).astype(np.float32),
)


def test_by_hand():
    layer = np.array(
        [[0.0, 0.98, 0.5, 0.5, 0.0], [0.0, -0.99, 0.1, 0.1, 0.2]], np.float32
    )
    found = activation_statistics([layer], bounds=(-1, 1))
    want = {
        "mean": layer.mean(),
        "variance": layer.var(),
        "mean_square": (layer**2).mean(),
        "signal": layer.var(0).mean(),
        "zero": 0.3,
        "dead": 0.2,
        "saturated": 0.2,
        "stuck": 0.2,
        "duplicate": 0.2,
    }
    for name, value in want.items():
        got = getattr(found, name)
        assert got.shape == (1,)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, value, rtol=1e-6, err_msg=name)


def test_layers_of_different_widths_and_no_bounds():
    found = activation_statistics(LAYERS)
    np.testing.assert_allclose(
        found.variance, [layer.var() for layer in LAYERS], rtol=1e-5
    )
    assert np.all(np.isnan(found.saturated))
    assert np.all(np.isnan(found.stuck))


def test_the_sigmoid_saturates_at_both_ends():
    layer = np.array([[0.01, 0.5, 0.02, 0.99]])
    found = activation_statistics([layer], bounds=(0, 1))
    np.testing.assert_allclose(found.saturated, 0.5)
    # Where it counts as saturated the slope is below 6% of the largest.
    edge = 0.015
    assert 4 * edge * (1 - edge) < 0.06
    assert 1 - 0.97**2 < 0.06


def test_copies_are_counted_once_and_the_dead_not_at_all():
    column = RNG.normal(size=5)
    layer = np.stack([column, column, 0 * column, 0 * column, column, -column], 1)
    found = activation_statistics([layer])
    np.testing.assert_allclose(found.duplicate, 2 / 6)
    np.testing.assert_allclose(found.dead, 2 / 6)


def test_padded_layers_count_their_true_units():
    wide = [np.pad(layer, ((0, 0), (0, 5))) for layer in LAYERS]
    found = activation_statistics(wide, widths=(4, 3), bounds=(0, 1))
    want = activation_statistics(LAYERS, bounds=(0, 1))
    for name, value in want._asdict().items():
        np.testing.assert_allclose(getattr(found, name), value, rtol=1e-5, err_msg=name)


def test_vmap_over_widths_equals_a_loop():
    layer = [np.maximum(RNG.normal(size=(4, 6)), 0).astype(np.float32)]

    def statistics(width):
        return activation_statistics(layer, widths=(width,))

    mapped = jax.vmap(statistics)(jnp.array([2, 6]))
    for row, width in enumerate((2, 6)):
        for name, value in statistics(width)._asdict().items():
            np.testing.assert_allclose(
                getattr(mapped, name)[row], value, rtol=1e-5, err_msg=name
            )


def test_initial_scale_keeps_or_loses_the_signal():
    """He keeps the mean square of ReLU layers, Xavier halves it each layer."""
    x = RNG.normal(size=(100, 200)).astype(np.float32)

    def mean_squares(initializer):
        params = mlp.init(jax.random.key(0), (200,) * 5 + (1,), initializer=initializer)
        activations = jax.vmap(mlp.apply_with_activations, (None, 0))(params, x)[1]
        return np.asarray(activation_statistics(activations).mean_square)

    np.testing.assert_allclose(mean_squares(nn.he_normal), 1, rtol=0.25)
    halves = mean_squares(nn.xavier_normal)
    np.testing.assert_allclose(halves[1:] / halves[:-1], 0.5, rtol=0.15)


def test_back_propagated_signals_by_hand():
    """Of a linear network: delta_1 = W_2 delta_2, delta_2 = W_3 (y - t)."""
    params = mlp.init(jax.random.key(1), (3, 4, 5, 2))
    x, y = (RNG.normal(size=(7, k)).astype(np.float32) for k in (3, 2))
    model = partial(mlp.apply_with_activations, activation=nn.identity)
    first, second = activation_gradients(model, losses.squared_error, params, x, y)
    residual = jax.vmap(model, (None, 0))(params, x)[0] - y
    want = residual @ params[2].kernel.T
    np.testing.assert_allclose(second, want, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(first, want @ params[1].kernel.T, rtol=1e-4, atol=1e-5)


def test_no_gradient_reaches_a_dead_unit():
    params = mlp.init(jax.random.key(1), (3, 4, 2))
    dead = params[0]._replace(bias=params[0].bias.at[2].set(-1e3))
    x, y = (RNG.normal(size=(7, k)).astype(np.float32) for k in (3, 2))
    (signal,) = activation_gradients(
        mlp.apply_with_activations, losses.squared_error, (dead, params[1]), x, y
    )
    np.testing.assert_array_equal(signal[:, 2], 0)
    assert np.any(signal[:, [0, 1, 3]] != 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"activations": []}, "at least one layer"),
        ({"activations": [np.ones(3)]}, r"one \(n, h\) array a layer.*\(3,\)"),
        ({"activations": [np.ones((0, 3))]}, r"one \(n, h\) array a layer"),
        ({"activations": LAYERS, "bounds": (1, -1)}, r"bounds must be \(lower"),
        ({"activations": LAYERS, "widths": (4,)}, "one entry a layer, 2, got 1"),
        ({"activations": LAYERS, "widths": (4, 9)}, r"widths must lie in 1\.\.3"),
    ],
)
def test_wrong_calls_say_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        activation_statistics(**arguments)
