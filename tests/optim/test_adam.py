import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import optim
from tests.optim.trajectories import GOLDEN, assert_follows, descend, run

RNG = np.random.default_rng(0)
G = RNG.normal(size=(5, 4)).astype(np.float32)


@pytest.mark.parametrize(
    ("transform", "name"),
    [
        (optim.adam(0.1), "adam"),
        (optim.adam(0.1, 0.9, 0.99, 0.1), "adam_bigeps"),
        (optim.adam(0.1, 0.9, 0.99, 0.0, 0.1), "adam_bigeps_in"),
        (
            optim.adam(0.1, 0.9, 0.99, 0.1, bias_correction=False),
            "adam_nobias_bigeps",
        ),
    ],
)
def test_golden_trajectories(transform, name):
    assert_follows(transform, name)


def test_golden_trajectory_with_noise():
    assert_follows(optim.adam(0.1), "noisy_adam", GOLDEN["noise"])


def test_the_golden_trajectories_tell_the_epsilons_apart():
    got = descend(optim.adam(0.1, 0.9, 0.99, 0.1))
    for other in ("adam_bigeps_in", "adam_bigeps_epshat", "adam_nobias_bigeps"):
        assert np.abs(got - GOLDEN[other]).max() > 1e-3


def test_the_first_step_is_the_sign():
    (step,) = run(optim.adam(0.3, 0.8, 0.95), G[:1], jnp.zeros(4))
    np.testing.assert_allclose(step, -0.3 * np.sign(G[0]), rtol=1e-4)


def test_the_first_step_without_bias_correction():
    (step,) = run(
        optim.adam(0.3, 0.9, 0.999, bias_correction=False), G[:1], jnp.zeros(4)
    )
    np.testing.assert_allclose(
        step, -0.3 * np.sign(G[0]) * 0.1 / np.sqrt(0.001), rtol=1e-4
    )


@pytest.mark.parametrize("nesterov", [False, True])
def test_matches_optax(nesterov):
    settings = {
        "b1": 0.7,
        "b2": 0.9,
        "eps": 0.05,
        "eps_root": 0.02,
        "nesterov": nesterov,
    }
    ours = run(optim.scale_by_adam(**settings), G, jnp.zeros(4))
    theirs = run(optax.scale_by_adam(**settings), G, jnp.zeros(4))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_nesterov_without_bias_correction_by_hand():
    b1, mu, nu = 0.6, 0.0, 0.0
    transform = optim.scale_by_adam(b1, 0.5, 0.1, bias_correction=False, nesterov=True)
    for g, got in zip(G[:, 0], run(transform, G[:, 0], jnp.zeros(())), strict=True):
        mu, nu = b1 * mu + (1 - b1) * g, 0.5 * nu + 0.5 * g * g
        look_ahead = b1 * mu + (1 - b1) * g
        np.testing.assert_allclose(got, look_ahead / (np.sqrt(nu) + 0.1), rtol=1e-5)


def test_nadam_follows_its_trajectory_by_hand():
    rate, b1, b2, eps, eps_root = 0.1, 0.8, 0.95, 0.1, 0.02
    theta, mu, nu = GOLDEN["theta0"], np.zeros(4), np.zeros(4)
    path = [theta]
    for t in range(1, 21):
        g = GOLDEN["H"] @ (theta - GOLDEN["theta_star"])
        mu, nu = b1 * mu + (1 - b1) * g, b2 * nu + (1 - b2) * g * g
        ahead = b1 * mu / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
        theta = theta - rate * ahead / (np.sqrt(nu / (1 - b2**t) + eps_root) + eps)
        path.append(theta)
    got = descend(optim.nadam(rate, b1, b2, eps, eps_root))
    np.testing.assert_allclose(got, path, rtol=0, atol=1e-10)


def test_scale_of_the_gradient_does_not_matter():
    small = run(optim.adam(0.1, eps=0.0), 1e-3 * G, jnp.zeros(4))
    large = run(optim.adam(0.1, eps=0.0), 1e3 * G, jnp.zeros(4))
    np.testing.assert_allclose(small, large, rtol=1e-5)


def test_a_complex_gradient_has_a_real_second_moment():
    z = jnp.asarray(G[0] + 1j * G[1])
    transform = optim.scale_by_adam()
    updates, state = transform.update(z, transform.init(z))
    assert updates.dtype == z.dtype
    assert state.nu.dtype == jnp.float32
    np.testing.assert_allclose(updates, z / np.abs(z), rtol=1e-4)


def test_the_bias_correction_of_half_precision_is_not_half():
    gradient = jnp.ones(3, jnp.bfloat16)
    transform = optim.scale_by_adam(mu_dtype=jnp.float32)
    updates, state = transform.update(gradient, transform.init(gradient))
    assert updates.dtype == jnp.bfloat16
    assert state.mu.dtype == jnp.float32
    # In bfloat16 1 - 0.999 is 0.0 and the update would not be finite.
    np.testing.assert_allclose(updates.astype(np.float32), 1, rtol=0.01)


def test_vmap_over_every_hyperparameter_equals_a_loop():
    def updates(rate, b1, b2, eps, eps_root):
        transform = optim.adam(rate, b1, b2, eps, eps_root)
        return jnp.stack(run(transform, G, jnp.zeros(4)))

    settings = np.float32([
        [0.1, 0.3, 0.2],
        [0.0, 0.5, 0.9],
        [0.3, 0.99, 0.999],
        [0.0, 1e-3, 0.2],
        [0.1, 0.0, 1e-4],
    ])
    loop = [updates(*(float(x) for x in member)) for member in settings.T]
    np.testing.assert_allclose(jax.vmap(updates)(*settings), loop, rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "value", "domain"),
    [
        ("b1", 1.0, r"\[0, 1\)"),
        ("b1", -0.1, r"\[0, 1\)"),
        ("b2", 1, r"\[0, 1\)"),
        ("eps", -1e-8, r"\[0, inf\)"),
        ("eps_root", -1.0, r"\[0, inf\)"),
    ],
)
def test_a_wrong_hyperparameter_raises(name, value, domain):
    for make in (optim.scale_by_adam, lambda **kw: optim.adam(0.1, **kw)):
        with pytest.raises(ValueError, match=f"{name} must be in {domain}"):
            make(**{name: value})
