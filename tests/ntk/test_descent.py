import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.ntk import gradient_descent_mse, gradient_flow_mse, max_learning_rate

N, M, K = 6, 3, 2
RNG = np.random.default_rng(1)
F0, F0_TEST, Y = (RNG.normal(size=(rows, K)) for rows in (N, M, N))
FEATURES = RNG.normal(size=(N + M, 4))  # fewer than examples: singular
KERNEL, TEST = FEATURES[:N] @ FEATURES[:N].T, FEATURES[N:] @ FEATURES[:N].T
STEPS = np.array([0, 1, 2, 7, 100, 1000])


def loop(rate, momentum, ridge, steps, features=FEATURES):
    x, test = features[:N], features[N:]
    w = np.zeros((x.shape[1], K))
    v = np.zeros_like(w)
    f_train, f_test = [F0], [F0_TEST]
    for _ in range(max(steps)):
        v = momentum * v + (x.T @ (F0 + x @ w - Y) + ridge * w) / N
        w = w - rate * v
        f_train.append(F0 + x @ w)
        f_test.append(F0_TEST + test @ w)
    return np.array(f_train)[steps], np.array(f_test)[steps]


@pytest.mark.parametrize(
    ("rate", "momentum", "ridge"),
    [(0.1, 0.0, 0.0), (0.4, 0.9, 0.0), (0.2, 0.6, 0.5), (1e-3, 0.99, 0.0)],
)
def test_it_is_a_loop_of_steps(rate, momentum, ridge):
    predict = gradient_descent_mse(
        KERNEL, Y, learning_rate=rate, momentum=momentum, ridge=ridge
    )
    got = predict(STEPS, F0, F0_TEST, TEST)
    want = loop(rate, momentum, ridge, STEPS)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(np.asarray(a), b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("momentum", [0.0, 0.36])
def test_equal_roots_are_no_exception(momentum):
    # The recursion's two roots are equal at rate s / n = (1 - sqrt(momentum))^2.
    rate = N * (1 - momentum**0.5) ** 2
    predict = gradient_descent_mse(np.eye(N), Y, learning_rate=rate, momentum=momentum)
    got, _ = predict(STEPS, F0)
    features = np.vstack([np.eye(N), np.zeros((M, N))])
    want, _ = loop(rate, momentum, 0.0, STEPS, features)
    np.testing.assert_allclose(np.asarray(got), want, rtol=0, atol=1e-13)


def test_modes_of_any_speed_keep_their_digits():
    speeds = np.array([1e-14, 1e-10, 1e-5, 1.9, 2.0, 0.0])
    y = np.ones((N, 1))
    got, _ = gradient_descent_mse(N * np.diag(speeds), y)(1_000_001)
    want = -np.expm1(1_000_001 * np.log1p(-speeds[:3]))
    np.testing.assert_allclose(got[:, 0], [*want, 1, 2, 0], rtol=1e-9)


def test_divergence_is_at_the_largest_learning_rate():
    for momentum, ridge in ((0.0, 0.0), (0.8, 0.0), (0.5, 2.0)):
        bound = max_learning_rate(KERNEL, momentum=momentum, ridge=ridge)
        top = np.linalg.eigvalsh(KERNEL)[-1] + ridge
        assert float(bound) == pytest.approx(2 * (1 + momentum) * N / top, rel=1e-13)
        for share, grows in ((0.99, False), (1.01, True)):
            f_train, _ = gradient_descent_mse(
                KERNEL,
                Y,
                learning_rate=share * float(bound),
                momentum=momentum,
                ridge=ridge,
            )([3000], F0)
            assert (np.max(np.abs(f_train)) > 1e6) == grows


def test_max_learning_rate_of_a_full_kernel_and_of_none():
    jacobian = RNG.normal(size=(N, K, 5))
    kernel = np.einsum("iap,jbp->ijab", jacobian, jacobian)
    square = np.linalg.norm(jacobian.reshape(-1, 5), 2) ** 2
    assert float(max_learning_rate(kernel)) == pytest.approx(2 * N / square)
    assert np.isposinf(max_learning_rate(np.zeros((2, 2))))


def test_small_steps_follow_the_flow():
    flow = gradient_flow_mse(KERNEL, Y, ridge=0.3)(2.0, F0, F0_TEST, TEST)
    descent = gradient_descent_mse(KERNEL, Y, learning_rate=2.0**-20, ridge=0.3)
    for a, b in zip(flow, descent(2**21, F0, F0_TEST, TEST), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=1e-5)


def _last(kernel, rate, steps):
    predict = gradient_descent_mse(kernel, Y.astype(np.float32), learning_rate=rate)
    return jnp.sum(predict(steps)[0])


traced = jax.jit(jax.vmap(_last, (None, None, 0)))
slope = jax.jit(jax.grad(_last, 1))


def test_traced_steps_and_gradients_in_32_bits():
    kernel, steps = jnp.asarray(KERNEL, jnp.float32), jnp.array([0, 3, 9])
    got = traced(kernel, 0.1, steps)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, [_last(kernel, 0.1, int(s)) for s in steps], 1e-6)
    ends = [float(_last(kernel, 0.1 + h, 3)) for h in (-1e-3, 1e-3)]
    got = slope(kernel, jnp.float32(0.1), jnp.array(3))
    assert float(got) == pytest.approx((ends[1] - ends[0]) / 2e-3, rel=1e-2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"momentum": 1.0}, r"momentum must be in \[0, 1\), got 1.0"),
        ({"momentum": -0.1}, r"momentum must be in \[0, 1\), got -0.1"),
        ({"momentum": jnp.float32(1)}, r"momentum must be in \[0, 1\), got 1.0"),
        ({"learning_rate": -1.0}, "learning_rate must be in"),
        ({"ridge": -1.0}, "ridge must be in"),
        ({"ridge": np.array(-1.0)}, "ridge must be in .* got -1.0"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        gradient_descent_mse(KERNEL, Y, **arguments)
    if "learning_rate" not in arguments:
        with pytest.raises(ValueError, match=message):
            max_learning_rate(KERNEL, **arguments)


@pytest.mark.parametrize("t", [-1, 0.5, [1, -2], np.inf, np.nan, np.ones((1, 1))])
def test_errors_of_steps(t):
    with pytest.raises(ValueError, match="t must be a whole number of steps >= 0"):
        gradient_descent_mse(KERNEL, Y)(t)


def test_errors_of_kernels():
    with pytest.raises(ValueError, match="k_train_train must be symmetric"):
        gradient_descent_mse(np.tri(N), Y)
    with pytest.raises(ValueError, match="kernel must be positive semi-definite"):
        max_learning_rate(-KERNEL)
    with pytest.raises(ValueError, match="y_train must be a real array"):
        gradient_descent_mse(KERNEL, Y[1:])
    with pytest.raises(ValueError, match="f_train_0 must have shape"):
        gradient_descent_mse(KERNEL, Y)(3, F0[1:])
