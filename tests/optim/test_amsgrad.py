import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import optim
from tests.optim.trajectories import assert_follows, run

RNG = np.random.default_rng(0)
G = RNG.normal(size=(6, 4)).astype(np.float32) * np.float32([
    [5],
    [1],
    [1],
    [0.1],
    [1],
    [1],
])


def test_golden_trajectory():
    assert_follows(optim.amsgrad(0.1, correct_before_max=False), "amsgrad")


@pytest.mark.parametrize("bias_correction", [False, True])
def test_matches_optax(bias_correction):
    settings = {"b1": 0.7, "b2": 0.6, "eps": 0.05, "eps_root": 0.02}
    ours = optim.scale_by_amsgrad(**settings, bias_correction=bias_correction)
    theirs = optax.scale_by_amsgrad(
        **settings,
        bias_correction_mu=bias_correction,
        bias_correction_nu=bias_correction,
    )
    np.testing.assert_allclose(
        run(ours, G, jnp.zeros(4)), run(theirs, G, jnp.zeros(4)), rtol=1e-5
    )


def test_the_second_moment_never_falls():
    transform = optim.scale_by_amsgrad(b2=0.3, bias_correction=False)
    state, before = transform.init(jnp.zeros(4)), np.zeros(4)
    for gradient in G:
        _, state = transform.update(gradient, state)
        assert (state.nu_max >= before).all()
        assert (state.nu_max >= state.nu).all()
        before = state.nu_max
    assert (state.nu < state.nu_max).any()


def test_vmap_over_every_hyperparameter_equals_a_loop():
    def updates(rate, b1, b2, eps, eps_root):
        transform = optim.amsgrad(rate, b1, b2, eps, eps_root, correct_before_max=False)
        return jnp.stack(run(transform, G, jnp.zeros(4)))

    settings = np.float32([[0.1, 0.3], [0.0, 0.9], [0.3, 0.99], [0.0, 0.1], [0.1, 0.0]])
    loop = [updates(*(float(x) for x in member)) for member in settings.T]
    np.testing.assert_allclose(jax.vmap(updates)(*settings), loop, rtol=1e-4)


def test_dtypes_are_kept():
    gradient = jnp.ones(3, jnp.bfloat16)
    transform = optim.scale_by_amsgrad(mu_dtype=jnp.float32)
    state = transform.init(gradient)
    updates, after = transform.update(gradient, state)
    assert updates.dtype == jnp.bfloat16
    assert after.nu.dtype == after.nu_max.dtype == jnp.bfloat16
    assert after.mu.dtype == jnp.float32


@pytest.mark.parametrize(
    ("name", "value"), [("b1", 1.0), ("b2", -0.1), ("eps", -1.0), ("eps_root", -1.0)]
)
def test_a_wrong_hyperparameter_raises(name, value):
    for make in (optim.scale_by_amsgrad, lambda **kw: optim.amsgrad(0.1, **kw)):
        with pytest.raises(ValueError, match=f"{name} must be in"):
            make(**{name: value})
