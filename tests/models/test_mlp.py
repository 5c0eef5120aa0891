import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import losses, nn, optim, train, tree
from jaxdl.models import mlp

RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 4))
Y = RNG.integers(0, 3, size=20)


def test_outputs_by_hand():
    params = (
        nn.Dense(jnp.array([[1.0, -1.0], [2.0, 0.0]]), jnp.array([0.5, 0.0])),
        nn.Dense(jnp.array([[3.0], [5.0]]), jnp.array([-1.0])),
    )
    # Hidden pre-activations (3.5, -1): relu gives (3.5, 0).
    np.testing.assert_allclose(mlp.apply(params, jnp.array([1.0, 1.0])), [9.5])
    linear = mlp.apply(params, jnp.array([1.0, 1.0]), activation=nn.identity)
    np.testing.assert_allclose(linear, [4.5])


def test_parameter_count():
    params = mlp.init(jax.random.key(0), (4, 7, 5, 3))
    assert tree.size(params) == 5 * 7 + 8 * 5 + 6 * 3
    assert tree.size(mlp.init(jax.random.key(0), (4, 3), use_bias=False)) == 12


def test_layers_are_drawn_independently():
    first, second, _ = mlp.init(jax.random.key(0), (5, 5, 5, 5))
    assert not np.allclose(first.kernel, second.kernel)


def test_a_padded_network_is_the_narrow_one_and_stays_it():
    """Same function, same gradients, and the same parameters after Adam."""
    with jax.enable_x64(True):
        wide = mlp.init(jax.random.key(0), (4, 8, 8, 3), widths=(5, 3))
        narrow = (
            nn.Dense(wide[0].kernel[:, :5], wide[0].bias[:5]),
            nn.Dense(wide[1].kernel[:5, :3], wide[1].bias[:3]),
            nn.Dense(wide[2].kernel[:3], wide[2].bias),
        )
        loss = train.supervised(mlp.apply, losses.cross_entropy)

        def trained(params):
            return train.fit(
                jax.random.key(1), loss, params, optim.adam(0.05), (X, Y), steps=60
            ).params

        after, expected = trained(wide), trained(narrow)
        assert tree.size(expected) < tree.size(after)
        np.testing.assert_allclose(
            jax.vmap(mlp.apply, (None, 0))(after, X),
            jax.vmap(mlp.apply, (None, 0))(expected, X),
            rtol=1e-10,
        )
        np.testing.assert_array_equal(after[0].kernel[:, 5:], 0)
        np.testing.assert_array_equal(after[1].bias[3:], 0)
        np.testing.assert_array_equal(after[2].kernel[3:], 0)


def test_a_padded_network_is_scaled_by_its_true_widths():
    def scale(width):
        params = mlp.init(jax.random.key(0), (3, 400, 200), widths=(width,))
        return jnp.sum(params[1].kernel ** 2) / (width * 200)

    got = jax.jit(jax.vmap(scale))(jnp.array([100, 400]))
    np.testing.assert_allclose(got, [2 / 100, 2 / 400], rtol=0.05)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sizes": (4,)}, "sizes must name"),
        ({"sizes": (4, 0, 3)}, "fan_out must be a positive integer"),
        ({"sizes": (4, 5, 3), "widths": (2, 2)}, "one entry a hidden layer"),
        ({"sizes": (4, 5, 3), "widths": (6,)}, r"widths must lie in 1\.\.5"),
    ],
)
def test_wrong_calls_say_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        mlp.init(jax.random.key(0), **arguments)


def test_activations_by_hand_and_shifts_to_them():
    params = (
        nn.Dense(jnp.array([[1.0, -1.0], [2.0, 0.0]]), jnp.array([0.5, 0.0])),
        nn.Dense(jnp.array([[3.0], [5.0]]), jnp.array([-1.0])),
    )
    x = jnp.array([1.0, 1.0])
    outputs, (hidden,) = mlp.apply_with_activations(params, x)
    np.testing.assert_allclose(hidden, [3.5, 0.0])
    np.testing.assert_allclose(outputs, mlp.apply(params, x))
    outputs, (hidden,) = mlp.apply_with_activations(
        params, x, shifts=[jnp.array([-0.5, 3.0])]
    )
    np.testing.assert_allclose(hidden, [3.0, 2.0])
    np.testing.assert_allclose(outputs, [18.0])


def test_a_padded_network_pads_its_activations():
    params = mlp.init(jax.random.key(0), (4, 8, 6, 3), widths=(5, 3))
    first, second = mlp.apply_with_activations(
        params, jnp.ones(4), activation=jnp.tanh
    )[1]
    assert (first.shape, second.shape) == ((8,), (6,))
    assert np.all(first[:5] != 0)
    assert np.all(second[:3] != 0)
    np.testing.assert_array_equal(first[5:], 0)
    np.testing.assert_array_equal(second[3:], 0)


def test_no_hidden_layer_no_activations():
    params = mlp.init(jax.random.key(0), (4, 3))
    assert mlp.apply_with_activations(params, jnp.ones(4), shifts=())[1] == ()


def test_rejects_shifts_of_other_shapes():
    params = mlp.init(jax.random.key(0), (4, 8, 3))
    for shifts in ((), [jnp.ones(7)], [jnp.ones(8), jnp.ones(3)]):
        with pytest.raises(ValueError, match="shifts must have shapes"):
            mlp.apply_with_activations(params, jnp.ones(4), shifts=shifts)
