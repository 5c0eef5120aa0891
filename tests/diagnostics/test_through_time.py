import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.diagnostics import gradient_norms_through_time, jacobian_norms

RNG = np.random.default_rng(0)
T, H = 12, 5
INPUTS = RNG.normal(size=(T, H)).astype(np.float32)


def linear(w, h, x):
    return w @ h + x


def tanh(w, h, x):
    return jnp.tanh(w @ h + x)


def last(h):
    return jnp.sum(h[-1])


def scaled_to(norm):
    w = RNG.normal(size=(H, H))
    return (norm * w / np.linalg.norm(w, 2)).astype(np.float32)


@pytest.mark.parametrize("w", [0.9, 1.1])
def test_the_scalar_recurrence_is_a_power(w):
    """From h_1 to h_T it is w^(T - 1)."""
    n = 50
    kernel, inputs = jnp.full((1, 1), w), jnp.zeros((n, 1))
    norms = gradient_norms_through_time(linear, kernel, jnp.ones(1), inputs, last)
    np.testing.assert_allclose(norms, w ** np.arange(n, -1.0, -1), rtol=1e-5)
    np.testing.assert_allclose(norms[1], {0.9: 0.00573, 1.1: 106.72}[w], rtol=1e-3)
    logs = jacobian_norms(linear, kernel, jnp.ones(1), inputs)
    np.testing.assert_allclose(jnp.exp(logs.log_norm), norms, rtol=1e-4)
    np.testing.assert_allclose(logs.log_bound, logs.log_norm, rtol=1e-4, atol=1e-6)


def test_against_a_product_of_jacobians():
    w, h0 = scaled_to(1.3), RNG.normal(size=H).astype(np.float32)
    with jax.enable_x64(True):
        args = [np.asarray(a, np.float64) for a in (w, h0, INPUTS)]
        norms = np.asarray(gradient_norms_through_time(tanh, *args, last))
        log_norm, log_bound = map(np.asarray, jacobian_norms(tanh, *args))
    h, jacobians = np.asarray(h0, float), []
    for x in INPUTS:
        h = np.tanh(w @ h + x)
        jacobians.append((1 - h**2)[:, None] * w)
    product, gradients, sizes, bound = np.eye(H), [np.ones(H)], [0.0], [0.0]
    for jacobian in jacobians[::-1]:
        product = product @ jacobian
        gradients.append(np.ones(H) @ product)
        sizes.append(np.log(np.linalg.norm(product, 2)))
        bound.append(bound[-1] + np.log(np.linalg.norm(jacobian, 2)))
    np.testing.assert_allclose(norms, np.linalg.norm(gradients[::-1], axis=1))
    np.testing.assert_allclose(log_norm, sizes[::-1])
    np.testing.assert_allclose(log_bound, bound[::-1])
    assert np.all(log_norm <= log_bound + 1e-12)
    slack = log_norm + np.log(np.sqrt(H)) - np.log(norms)
    assert np.all(slack >= -1e-12)


@pytest.mark.parametrize(
    ("activation", "largest_slope"), [(jnp.tanh, 1.0), (jax.nn.sigmoid, 0.25)]
)
def test_small_weights_make_the_gradient_vanish(activation, largest_slope):
    """|dh_T / dh_t| <= (slope sigma_max)^(T - t)."""
    w = scaled_to(0.5)

    def step(w, h, x):
        return activation(w @ h + x)

    found = jacobian_norms(step, w, jnp.zeros(H), INPUTS).log_norm
    limit = np.log(0.5 * largest_slope) * np.arange(T, -1.0, -1)
    assert np.all(found <= limit + 1e-5)


def test_the_derivative_is_along_all_paths():
    """Of a loss of every state, sum_t h_t with h_t = h_{t-1} / 2: 2 - 2^-(T-t)."""
    norms = gradient_norms_through_time(
        linear, jnp.full((1, 1), 0.5), jnp.ones(1), jnp.zeros((4, 1)), jnp.sum
    )
    np.testing.assert_allclose(norms, [15 / 16, 15 / 8, 7 / 4, 3 / 2, 1])


def test_states_and_inputs_may_be_trees():
    def step(_, state, x):
        return {"c": 2 * state["c"] + x["u"], "h": (3 * state["h"][0],)}

    state = {"c": jnp.zeros(2), "h": (jnp.zeros(()),)}
    inputs = {"u": jnp.zeros((3, 2))}
    norms = gradient_norms_through_time(
        step, None, state, inputs, lambda s: jnp.sum(s["c"][-1]) + s["h"][0][-1]
    )
    powers = np.arange(3, -1.0, -1)
    np.testing.assert_allclose(norms, np.sqrt(2 * 4**powers + 9**powers), rtol=1e-6)
    logs = jacobian_norms(step, None, state, inputs)
    np.testing.assert_allclose(jnp.exp(logs.log_norm), 3**powers, rtol=1e-5)


def test_what_float32_cannot_square_is_still_seen():
    kernel = jnp.full((1, 1), 0.1)
    norms = gradient_norms_through_time(
        linear, kernel, jnp.ones(1), jnp.zeros((30, 1)), last
    )
    np.testing.assert_allclose(norms[0], 1e-30, rtol=1e-4)
    for w, n in ((1e-3, 40), (1e3, 40)):  # the product itself is out of range
        found = jacobian_norms(
            linear, jnp.full((1, 1), w), jnp.zeros(1), jnp.zeros((n, 1))
        )
        np.testing.assert_allclose(found.log_norm[0], n * np.log(w), rtol=1e-5)


def test_a_dead_end_is_minus_infinity():
    found = jacobian_norms(
        linear, jnp.array([[0.0, 1.0], [0.0, 0.0]]), jnp.ones(2), jnp.zeros((4, 2))
    )
    np.testing.assert_array_equal(found.log_norm[:3], -np.inf)
    np.testing.assert_allclose(found.log_norm[3:], 0, atol=1e-6)


def test_vmap_equals_a_loop():
    weights = np.stack([scaled_to(0.5), scaled_to(2.0)])

    def norms(w):
        logs = jacobian_norms(tanh, w, jnp.zeros(H), INPUTS).log_norm
        return gradient_norms_through_time(tanh, w, jnp.zeros(H), INPUTS, last), logs

    mapped = jax.vmap(norms)(weights)
    for row, w in enumerate(weights):
        for got, want in zip(mapped, norms(w), strict=True):
            np.testing.assert_allclose(got[row], want, rtol=1e-3, atol=1e-5)


def test_rejects_inputs_without_one_length():
    for inputs in (
        jnp.ones(()),
        jnp.ones((0, 1)),
        [jnp.ones((2, 1)), jnp.ones((3, 1))],
    ):
        with pytest.raises(ValueError, match="the same number of steps"):
            gradient_norms_through_time(linear, jnp.eye(1), jnp.ones(1), inputs, last)
        with pytest.raises(ValueError, match="the same number of steps"):
            jacobian_norms(linear, jnp.eye(1), jnp.ones(1), inputs)
