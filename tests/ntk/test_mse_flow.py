import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from jaxdl.ntk import gradient_flow_mse

N, M, K = 5, 3, 2
RNG = np.random.default_rng(0)
F0, F0_TEST, Y = (RNG.normal(size=(rows, K)) for rows in (N, M, N))
RATE = 0.3
TIMES = np.array([0.0, 0.7, 20.0])


def shared(p):
    """Features of a linear model with p parameters an output, and its kernels."""
    features = RNG.normal(size=(N + M, p))
    kernel = features @ features.T
    jacobian = np.einsum("np,kl->nklp", features, np.eye(K)).reshape((N + M) * K, -1)
    return jacobian, kernel[:N, :N], kernel[N:, :N]


def full(p):
    """The Jacobian of all outputs to p shared parameters, and its kernels."""
    jacobian = RNG.normal(size=(N + M, K, p))
    kernel = np.einsum("iap,jbp->ijab", jacobian, jacobian)
    return jacobian.reshape((N + M) * K, p), kernel[:N, :N], kernel[N:, :N]


def integrate(jacobian, ridge, times):
    """The flow in the parameters of the linear model, by an ODE solver."""
    train, test = jacobian[: N * K], jacobian[N * K :]
    square = train.T @ train + ridge * np.eye(train.shape[1])

    def velocity(_, w):
        return -RATE / N * (square @ w + train.T @ (F0 - Y).ravel())

    solution = solve_ivp(
        velocity,
        (0, times[-1]),
        np.zeros(train.shape[1]),
        "LSODA",
        times,
        rtol=1e-11,
        atol=1e-12,
    )
    w = solution.y.T
    return (
        F0 + (w @ train.T).reshape(-1, N, K),
        F0_TEST + (w @ test.T).reshape(-1, M, K),
    )


@pytest.mark.parametrize("ridge", [0.0, 0.8])
@pytest.mark.parametrize("model", [shared(9), shared(3), full(14), full(4)])
def test_it_is_the_flow_of_an_explicit_linear_model(model, ridge):
    jacobian, train, test = model  # of full rank and not
    predict = gradient_flow_mse(train, Y, learning_rate=RATE, ridge=ridge)
    got = predict(TIMES, F0, F0_TEST, test)
    for part, want in zip(got, integrate(jacobian, ridge, TIMES), strict=True):
        assert part.dtype == np.float64
        np.testing.assert_allclose(np.asarray(part), want, rtol=0, atol=2e-9)


@pytest.mark.parametrize("model", [shared(9), shared(3), full(4)])
def test_at_infinity_it_is_kernel_ridge_regression(model):
    jacobian, train, test = model
    a, b = jacobian[: N * K], jacobian[N * K :]
    error = (Y - F0).ravel()
    for ridge in (0.0, 0.8):
        w = np.linalg.lstsq(
            np.vstack([a, np.sqrt(ridge) * np.eye(a.shape[1])]),
            np.concatenate([error, np.zeros(a.shape[1])]),
            rcond=1e-12,
        )[0]
        predict = gradient_flow_mse(train, Y, learning_rate=RATE, ridge=ridge)
        f_train, f_test = predict(np.inf, F0, F0_TEST, test)
        np.testing.assert_allclose(f_train, F0 + (a @ w).reshape(N, K), atol=1e-11)
        np.testing.assert_allclose(f_test, F0_TEST + (b @ w).reshape(M, K), atol=1e-11)
        late = predict(1e25, F0, F0_TEST, test)  # round-off must not have grown
        np.testing.assert_allclose(late[1], np.asarray(f_test), atol=1e-11)


def test_by_hand():
    kernel, test = np.diag([2.0, 0.0]), np.array([[1.0, 3.0]])
    predict = gradient_flow_mse(kernel, np.array([[1.0], [5.0]]), learning_rate=3.0)
    f_train, f_test = predict(0.25, None, None, test)
    gone = 1 - np.exp(-0.75)
    np.testing.assert_allclose(f_train[:, 0], [gone, 0], rtol=1e-14)
    # Not part of one kernel: f_test feels the error that stays, at 3 * 5 / 2 a time.
    np.testing.assert_allclose(f_test[0, 0], gone / 2 + 0.375 * 15, rtol=1e-14)
    f_train, f_test = predict(np.inf, None, None, test)
    np.testing.assert_allclose([f_train[0, 0], f_test[0, 0]], [1, 0.5], rtol=1e-14)


def test_the_flow_has_no_memory():
    _, train, test = shared(9)
    predict = gradient_flow_mse(train, Y)
    halfway = predict(0.4, F0, F0_TEST, test)
    twice = predict(0.6, *map(np.asarray, halfway), test)
    once = predict(1.0, F0, F0_TEST, test)
    for a, b in zip(once, twice, strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-12)


def test_a_shared_kernel_is_a_full_one_with_zeros():
    _, train, test = shared(9)
    whole = [np.einsum("ij,ab->ijab", kernel, np.eye(K)) for kernel in (train, test)]
    want = gradient_flow_mse(train, Y, ridge=0.2)(TIMES, F0, F0_TEST, test)
    got = gradient_flow_mse(whole[0], Y, ridge=0.2)(TIMES, F0, F0_TEST, whole[1])
    for a, b in zip(want, got, strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=1e-12)


def test_float32_stays_and_is_as_good_as_it_can_be():
    _, train, test = shared(9)
    arrays = [np.float32(a) for a in (train, Y, F0, F0_TEST, test)]
    f_train, f_test = gradient_flow_mse(*arrays[:2])(3.0, *arrays[2:])
    assert f_train.dtype == f_test.dtype == np.float32
    exact = [np.float64(a) for a in arrays]
    want = gradient_flow_mse(*exact[:2])(3.0, *exact[2:])
    np.testing.assert_allclose(f_train, np.asarray(want[0]), rtol=2e-7)
    np.testing.assert_allclose(f_test, np.asarray(want[1]), rtol=2e-7)


def test_a_kernel_with_round_off_of_float32_is_singular_not_wrong():
    x = RNG.normal(size=(30, 4)).astype(np.float32)
    kernel = x @ x.T  # rank 4; the others are round-off, some of it negative
    y = RNG.normal(size=(30, 1)).astype(np.float32)
    f_train, f_test = gradient_flow_mse(kernel, y)(np.inf, None, None, kernel[:7])
    want = x @ np.linalg.lstsq(x, y)[0]
    np.testing.assert_allclose(f_train, want, atol=2e-5)
    np.testing.assert_allclose(f_test, want[:7], atol=2e-5)


def _sum(kernel, y, test, numbers):
    predict = gradient_flow_mse(kernel, y, learning_rate=numbers[1], ridge=numbers[2])
    f_train, f_test = predict(numbers[0], None, None, test)
    return jnp.sum(jnp.square(f_train)) + jnp.sum(jnp.square(f_test))


compiled = jax.jit(jax.grad(_sum, (0, 1, 2, 3)))
many = jax.jit(jax.vmap(_sum, (None, None, None, 0)))


def test_gradients_are_those_of_finite_differences_with_32_bits_outside():
    _, train, test = shared(9)
    arguments = [train, Y, test, np.array([0.5, 1.3, 0.2])]
    single = [jnp.asarray(a, jnp.float32) for a in arguments]
    exact = [np.float64(a) for a in single]
    for got, i in zip(compiled(*single), range(4), strict=True):
        assert got.dtype == np.float32
        direction = RNG.normal(size=np.shape(exact[i]))
        if i == 0:
            direction = direction + direction.T
        ends = []
        for sign in (-1, 1):
            moved = list(exact)
            moved[i] = exact[i] + sign * 1e-5 * direction
            with jax.enable_x64(True):
                ends.append(float(_sum(*moved)))
        slope = (ends[1] - ends[0]) / 2e-5
        assert np.sum(np.asarray(got) * direction) == pytest.approx(slope, rel=1e-5)


def test_no_times_give_no_outputs():
    _, train, test = shared(9)
    f_train, f_test = gradient_flow_mse(train, Y)(np.zeros(0), None, None, test)
    assert f_train.shape == (0, N, K)
    assert f_test.shape == (0, M, K)


def test_the_limit_has_derivatives():
    _, train, _ = shared(9)

    def limit(numbers):
        predict = gradient_flow_mse(
            train, Y, learning_rate=numbers[0], ridge=numbers[1]
        )
        return jnp.sum(predict(jnp.array([0.0, jnp.inf]))[0][1])

    inverse = np.linalg.inv(train + 0.5 * np.eye(N))
    with jax.enable_x64(True):
        got = jax.grad(limit)(jnp.array([RATE, 0.5]))
    expected = [0.0, -np.sum(train @ inverse @ inverse @ Y)]
    np.testing.assert_allclose(got, expected, rtol=1e-9)


def test_vmap_equals_a_loop():
    _, train, test = shared(9)
    arrays = [jnp.asarray(a, jnp.float32) for a in (train, Y, test)]
    numbers = np.array([[0.5, 1.3, 0.2], [2.0, 0.4, 0.0]], np.float32)
    got = many(*arrays, numbers)
    np.testing.assert_allclose(got, [_sum(*arrays, row) for row in numbers], rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k_train_train": np.ones((3, 2))}, r"k_train_train must .* \(3, 3\)"),
        ({"k_train_train": np.ones(3)}, "k_train_train must be a real array"),
        ({"k_train_train": np.ones((3, 3, 2, 1))}, "k_train_train must be"),
        ({"k_train_train": 1j * np.eye(3)}, "k_train_train must be a real"),
        ({"k_train_train": np.tri(3)}, "k_train_train must be symmetric, got"),
        ({"k_train_train": np.diag([1, 1, -1e-3])}, "k_train_train must be positive"),
        ({"k_train_train": -np.eye(3)}, "k_train_train must be positive semi-def"),
        ({"k_train_train": np.diag([1, 1, np.nan])}, "k_train_train must be finite"),
        (
            {"k_train_train": np.arange(36.0).reshape(3, 3, 2, 2)},
            "k_train_train must be symmetric",
        ),
        ({"k_train_train": np.ones((3, 3, 1, 1))}, r"y_train must .* \(3, 1\)"),
        ({"y_train": np.ones(3)}, r"y_train must .* \(3, k\)"),
        ({"y_train": np.ones((2, 2))}, r"y_train must .* got float64 \(2, 2\)"),
        ({"y_train": np.full((3, 2), np.inf)}, "y_train must be finite, got inf"),
        ({"learning_rate": 0.0}, "learning_rate must be in"),
        ({"learning_rate": np.inf}, "learning_rate must be in"),
        ({"ridge": -0.1}, r"ridge must be in \[0, inf\), got -0.1"),
        ({"ridge": jnp.float32(-2)}, r"ridge must be in \[0, inf\), got -2.0"),
        ({"learning_rate": np.array(-1.0)}, "learning_rate must be in .* got -1.0"),
    ],
)
def test_errors(change, message):
    arguments = {"k_train_train": np.eye(3), "y_train": np.ones((3, 2))} | change
    with pytest.raises(ValueError, match=message):
        gradient_flow_mse(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1.0,), "t must be >= 0, got -1.0"),
        (([0.0, -1.0],), "t must be >= 0, got -1.0"),
        ((np.nan,), "t must be >= 0, got nan"),
        ((np.ones((1, 1)),), "t must be a real number or vector"),
        ((1.0, np.ones((3, 1))), r"f_train_0 must have shape \(3, 2\)"),
        ((1.0, np.full((3, 2), np.nan)), "f_train_0 must be finite"),
        ((1.0, None, np.ones((4, 2))), "f_test_0 is given, so k_test_train must"),
        ((1.0, None, np.ones((4, 1)), np.ones((4, 3))), "f_test_0 must have shape"),
        ((1.0, None, None, np.ones((4, 2))), r"k_test_train must .* \(m, 3\)"),
        ((1.0, None, None, np.ones((4, 3, 2, 2))), r"k_test_train must .* \(4, 3\)"),
    ],
)
def test_errors_of_a_prediction(arguments, message):
    predict = gradient_flow_mse(np.eye(3), np.ones((3, 2)))
    with pytest.raises(ValueError, match=message):
        predict(*arguments)
