import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from jaxdl import losses
from jaxdl.ntk import gradient_flow, gradient_flow_mse

diffrax = pytest.importorskip("diffrax")

N, M, K = 5, 3, 3
RNG = np.random.default_rng(2)
F0, F0_TEST, Y = (RNG.normal(size=(rows, K)) for rows in (N, M, N))
LABELS = np.array([0, 2, 1, 1, 0])
TIMES = np.array([0.0, 30.0, 2.0])  # in any order


def model(p):
    jacobian = RNG.normal(size=(N + M, K, p))
    kernel = np.einsum("iap,jbp->ijab", jacobian, jacobian)
    return jacobian, kernel[:N, :N], kernel[N:, :N]


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize(("p", "ridge"), [(20, 0.0), (4, 0.6)])
def test_cross_entropy_is_the_flow_of_an_explicit_linear_model(p, ridge):
    jacobian, train, test = model(p)

    def velocity(_, w):
        slope = softmax(F0 + jacobian[:N] @ w) - np.eye(K)[LABELS]
        return -0.7 / N * (np.einsum("nkp,nk->p", jacobian[:N], slope) + ridge * w)

    solution = solve_ivp(
        velocity, (0, 30), np.zeros(p), "LSODA", [0, 2, 30], rtol=1e-11, atol=1e-12
    )
    w = solution.y.T[[0, 2, 1]]
    predict = gradient_flow(
        losses.cross_entropy,
        train,
        LABELS,
        learning_rate=0.7,
        ridge=ridge,
        tolerance=1e-9,
    )
    f_train, f_test = predict(TIMES, F0, F0_TEST, test)
    outputs = np.einsum("nkp,tp->tnk", jacobian, w)
    np.testing.assert_allclose(np.asarray(f_train), F0 + outputs[:, :N], atol=1e-6)
    np.testing.assert_allclose(np.asarray(f_test), F0_TEST + outputs[:, N:], atol=1e-6)


@pytest.mark.parametrize(
    "solver",
    [None, pytest.param(diffrax.Kvaerno5(), marks=pytest.mark.slow, id="Kvaerno5")],
)
def test_squared_error_is_the_closed_form(solver):
    x = RNG.normal(size=(N + M, 4))
    train, test = x[:N] @ x[:N].T, x[N:] @ x[:N].T  # shared and singular
    arguments = (train, Y)
    predict = gradient_flow(
        losses.squared_error, *arguments, ridge=0.2, tolerance=1e-8, solver=solver
    )
    want = gradient_flow_mse(*arguments, ridge=0.2)(TIMES, F0, F0_TEST, test)
    got = predict(TIMES, F0, F0_TEST, test)
    for a, b in zip(got, want, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=1e-6)
    once, _ = predict(2.0, F0)
    np.testing.assert_allclose(np.asarray(once), np.asarray(got[0][2]), atol=1e-6)


def _at(t, rate):
    predict = gradient_flow(losses.squared_error, 2 * np.eye(N), Y, learning_rate=rate)
    return jnp.sum(predict(t)[0])


@pytest.mark.slow
def test_under_jit_and_grad_in_64_bits_and_not_in_32():
    with jax.enable_x64(True):
        value, slope = jax.jit(jax.value_and_grad(_at, 1))(1.0, 0.5)
    assert float(value) == pytest.approx(np.sum(Y) * -np.expm1(-1 / N), rel=1e-5)
    want = np.sum(Y) * 2 / N * np.exp(-1 / N)
    assert float(slope) == pytest.approx(want, rel=1e-4)
    with pytest.raises(ValueError, match=r"needs 64 bits outside too: .* got 32"):
        jax.jit(_at)(1.0, 0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k_train_train": np.tri(N)}, "k_train_train must be symmetric"),
        ({"y_train": LABELS[1:]}, "y_train must have 5 examples first"),
        ({"learning_rate": 0.0}, "learning_rate must be in"),
        ({"ridge": -1.0}, "ridge must be in"),
        ({"tolerance": 0.0}, "tolerance must be in"),
        ({"max_steps": 0}, "max_steps must be an integer"),
    ],
)
def test_errors(change, message):
    arguments = {"k_train_train": np.eye(N), "y_train": LABELS} | change
    with pytest.raises(ValueError, match=message):
        gradient_flow(losses.cross_entropy, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.inf, F0), "t must be finite"),
        ((-1.0, F0), "t must be >= 0"),
        ((1.0,), r"f_train_0 \(n, k\) is needed to know k"),
        ((1.0, F0[0]), r"f_train_0 must have shape \(n, k\)"),
        ((1.0, F0[1:]), r"f_train_0 must have shape \(5, 3\)"),
    ],
)
def test_errors_of_a_prediction(arguments, message):
    predict = gradient_flow(losses.cross_entropy, np.eye(N), LABELS)
    with pytest.raises(ValueError, match=message):
        predict(*arguments)
