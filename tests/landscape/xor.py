"""XOR by a tanh network with one output: loss, starts, and NumPy's derivatives."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.models import mlp
from jaxdl.nn import Dense

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1.0]])
Y = np.array([0, 1, 1, 0.0])


def loss(params):
    outputs = jax.vmap(lambda x: mlp.apply(params, x, activation=jnp.tanh))(X)
    return jnp.mean((outputs[:, 0] - Y) ** 2) / 2


def starts(hidden, n, seed=0):
    """n networks, as one tree."""
    rng = np.random.default_rng(seed)
    return (
        Dense(rng.normal(size=(n, 2, hidden)), rng.normal(size=(n, hidden))),
        Dense(rng.normal(size=(n, hidden, 1)), rng.normal(size=(n, 1))),
    )


def gradient(w, b, a, c, x=X, y=Y):
    """By hand, for a hidden layer w (d, h), b (h,), a (h,), c (); raveled likewise."""
    t = np.tanh(x @ w + b)
    r = (t @ a + c - y) / len(y)
    dz = r[:, None] * a * (1 - t**2)
    return np.concatenate([(x.T @ dz).ravel(), dz.sum(0), t.T @ r, [r.sum()]])


def hessian(w, b, a, c, x=X, y=Y):
    """By hand: J'J / n + sum_n r_n times the second derivatives of the output."""
    n, d = x.shape
    h = len(a)
    t = np.tanh(x @ w + b)
    r = (t @ a + c - y) / n
    first, second = 1 - t**2, -2 * t * (1 - t**2)
    p = d * h + h + h + 1
    total = np.zeros((p, p))
    for i in range(n):
        u = np.append(x[i], 1)
        jacobian = np.concatenate([
            np.outer(x[i], a * first[i]).ravel(),
            a * first[i],
            t[i],
            [1],
        ])
        total += np.outer(jacobian, jacobian) / n
        for k in range(h):
            # Places of unit k's weights in, bias and weight out.
            inside = [j * h + k for j in range(d)] + [d * h + k]
            out = d * h + h + k
            total[np.ix_(inside, inside)] += r[i] * a[k] * second[i, k] * np.outer(u, u)
            total[inside, out] += r[i] * first[i, k] * u
            total[out, inside] += r[i] * first[i, k] * u
    return total
