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
    ("settings", "name"),
    [
        ({"eps": 1e-2, "eps_in_sqrt": False}, "rmsprop_eps_out"),
        ({"eps": 1e-2}, "rmsprop_eps_in"),
        ({"eps_in_sqrt": False}, "rmsprop_eps_out_1e8"),
        ({}, "rmsprop_eps_in_1e8"),
        ({"eps": 1.0, "eps_in_sqrt": False}, "rmsprop_eps_out_eps1"),
        ({"eps": 1.0}, "rmsprop_eps_in_eps1"),
        (
            {"eps": 1e-2, "eps_in_sqrt": False, "centered": True},
            "rmsprop_centered_eps_out",
        ),
    ],
)
def test_golden_trajectories(settings, name):
    assert_follows(optim.rmsprop(0.05, **settings), name)


@pytest.mark.parametrize(
    ("eps_in_sqrt", "name"),
    [(False, "rmsprop_mom_eps_out"), (True, "rmsprop_mom_eps_in")],
)
def test_golden_trajectories_with_momentum(eps_in_sqrt, name):
    transform = optim.rmsprop(0.01, eps=1e-2, eps_in_sqrt=eps_in_sqrt, momentum=0.9)
    assert_follows(transform, name)


def test_the_golden_trajectories_tell_the_epsilons_apart():
    got = descend(optim.rmsprop(0.05, eps=1.0))
    assert np.abs(got - GOLDEN["rmsprop_eps_out_eps1"]).max() > 1e-3


def test_the_first_step():
    (step,) = run(optim.rmsprop(0.1, 0.9), G[:1], jnp.zeros(4))
    np.testing.assert_allclose(step, -np.sign(G[0]) * 0.31622776, rtol=1e-5)
    (step,) = run(optim.rmsprop(0.1, 0.9, bias_correction=True), G[:1], jnp.zeros(4))
    np.testing.assert_allclose(step, -np.sign(G[0]) * 0.1, rtol=1e-5)


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("eps_in_sqrt", [False, True])
@pytest.mark.parametrize("bias_correction", [False, True])
def test_matches_optax(centered, eps_in_sqrt, bias_correction):
    settings = {
        "decay": 0.7,
        "eps": 0.05,
        "initial_scale": 0.3,
        "eps_in_sqrt": eps_in_sqrt,
        "bias_correction": bias_correction,
    }
    theirs = (optax.scale_by_stddev if centered else optax.scale_by_rms)(**settings)
    ours = optim.scale_by_rms(**settings, centered=centered)
    np.testing.assert_allclose(
        run(ours, G, jnp.zeros(4)), run(theirs, G, jnp.zeros(4)), rtol=1e-5
    )


def test_nesterov_momentum_matches_optax():
    settings = {"momentum": 0.8, "nesterov": True, "eps": 0.1}
    ours = run(optim.rmsprop(0.1, **settings), G, jnp.zeros(4))
    theirs = run(optax.rmsprop(0.1, **settings), G, jnp.zeros(4))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_the_rate_is_outside_the_momentum_buffer():
    transform = optim.rmsprop(lambda step: jnp.where(step < 1, 1.0, 0.0), momentum=0.9)
    _, second = run(transform, G[:2], jnp.zeros(4))
    np.testing.assert_array_equal(second, np.zeros(4))


def test_a_variance_that_rounding_makes_negative_counts_as_zero():
    # The mean square of a constant gradient is its squared mean, but for rounding.
    gradients = np.full((200, 4), [0.1, 0.3, 7.7, 1e3], np.float32)
    transform = optim.scale_by_rms(0.5, 1e-3, eps_in_sqrt=False, centered=True)
    updates = run(transform, gradients, jnp.zeros(4))
    assert np.isfinite(updates).all()
    nan = run(transform, [jnp.array(jnp.nan)], jnp.zeros(()))
    assert np.isnan(nan[0])


def test_vmap_over_every_hyperparameter_equals_a_loop():
    def updates(rate, decay, eps, initial_scale, momentum):
        transform = optim.rmsprop(
            rate, decay, eps, initial_scale=initial_scale, momentum=momentum
        )
        return jnp.stack(run(transform, G, jnp.zeros(4)))

    settings = np.float32([
        [0.1, 0.3],
        [0.0, 0.9],
        [1e-3, 0.2],
        [0.0, 1.0],
        [0.0, 0.9],
    ])
    loop = [updates(*(float(x) for x in member)) for member in settings.T]
    np.testing.assert_allclose(jax.vmap(updates)(*settings), loop, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "value"),
    [("decay", 1.0), ("decay", -0.1), ("eps", -1.0), ("initial_scale", -1.0)],
)
def test_a_wrong_hyperparameter_raises(name, value):
    for make in (optim.scale_by_rms, lambda **kw: optim.rmsprop(0.1, **kw)):
        with pytest.raises(ValueError, match=f"{name} must be in"):
            make(**{name: value})
