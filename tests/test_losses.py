from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import losses

GOLDEN = np.load(Path(__file__).parent / "golden" / "losses.npz")


def test_cross_entropy_and_gradient_equal_the_reference_at_large_logits():
    with jax.enable_x64(True):
        value, grad = jax.vmap(jax.value_and_grad(losses.cross_entropy))(
            GOLDEN["ce_logits"], GOLDEN["ce_labels"]
        )
        np.testing.assert_allclose(value, GOLDEN["ce_loss"], rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(grad, GOLDEN["ce_grad_sum"], atol=1e-12)
        hessian = jax.hessian(losses.cross_entropy)(
            jnp.asarray(GOLDEN["ce_logits"][0]), jnp.asarray(GOLDEN["ce_labels"][0])
        )
        np.testing.assert_allclose(hessian, GOLDEN["ce_hess_row0"], atol=1e-12)


def test_soft_cross_entropy_equals_the_reference():
    with jax.enable_x64(True):
        value, grad = jax.vmap(jax.value_and_grad(losses.soft_cross_entropy))(
            GOLDEN["ce_logits"], GOLDEN["ce_soft_targets"]
        )
        np.testing.assert_allclose(value, GOLDEN["ce_soft_loss"], rtol=1e-12)
        np.testing.assert_allclose(grad, GOLDEN["ce_soft_grad_sum"], atol=1e-12)


@pytest.mark.parametrize("target", [0.0, 1.0, 0.3])
def test_binary_cross_entropy_equals_the_reference(target):
    with jax.enable_x64(True):
        z = jnp.asarray(GOLDEN["bce_logits"])
        np.testing.assert_allclose(
            losses.binary_cross_entropy(z, jnp.full_like(z, target)),
            GOLDEN[f"bce_loss_t{target}"],
            rtol=1e-12,
            atol=1e-12,
        )
        grad = jax.grad(lambda z: losses.binary_cross_entropy(z, target).sum())(z)
        np.testing.assert_allclose(grad, GOLDEN[f"bce_grad_t{target}"], atol=1e-12)


def test_squared_error_is_half_the_squared_distance():
    y, t = np.float32([1.0, 4.0]), np.float32([3.0, 1.0])
    np.testing.assert_allclose(losses.squared_error(y, t), 6.5)
    np.testing.assert_allclose(jax.grad(losses.squared_error)(y, t), y - t)


def test_penalties_and_their_gradients():
    params = {"w": jnp.array([[1.0, -2.0]]), "b": jnp.array([3.0])}
    np.testing.assert_allclose(losses.l2_penalty(params), 7.0)
    np.testing.assert_allclose(losses.l1_penalty(params), 6.0)
    np.testing.assert_allclose(jax.grad(losses.l2_penalty)(params)["w"], params["w"])
    np.testing.assert_allclose(
        jax.grad(losses.l1_penalty)(params)["w"], np.sign(params["w"])
    )


def test_misclassified_counts_a_nan_as_wrong():
    logits = jnp.array([[0.0, 1.0], [1.0, 0.0], [jnp.nan, 0.0]])
    wrong = jax.vmap(losses.misclassified)(logits, jnp.array([1, 1, 0]))
    np.testing.assert_array_equal(wrong, [0.0, 1.0, 1.0])


def test_perplexity_of_a_uniform_guess_is_the_number_of_choices():
    nats = losses.cross_entropy(jnp.zeros(7), jnp.array(2))
    np.testing.assert_allclose(losses.perplexity(nats), 7.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: losses.squared_error(jnp.ones(2), jnp.ones(3)), "same shape"),
        (lambda: losses.squared_error(jnp.ones((2, 1)), jnp.ones(2)), "same shape"),
        (lambda: losses.cross_entropy(jnp.ones((4, 2)), jnp.ones(4, int)), "vmap"),
        (lambda: losses.cross_entropy(jnp.ones(4), jnp.array(1.0)), "integer"),
        (lambda: losses.soft_cross_entropy(jnp.ones(4), jnp.ones(3)), "same shape"),
    ],
)
def test_wrong_calls_say_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()
