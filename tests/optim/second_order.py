"""Small problems with their derivatives by hand, and how to descend them."""

import jax
import jax.numpy as jnp
import numpy as np

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 3))
LABELS = (RNG.uniform(size=12) < 0.5).astype(float)
TARGETS = 1.5 * np.tanh(X @ [0.8, -0.5, 0.3]) + 0.1 * RNG.normal(size=12)
THETA = {"b": RNG.normal(size=()), "w": RNG.normal(size=3)}


def vector(theta):
    """A tree of ours as one NumPy vector, in the order of the leaves."""
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(theta)])


def descend(optimizer, loss, batch, steps, start, dtype=np.float64):
    """Follow a loss: ``(steps + 1, p)`` parameters, and the states one by one."""
    with jax.enable_x64(dtype == np.float64):
        cast = jax.tree.map(lambda x: np.asarray(x, dtype), (start, batch))
        start, batch = jax.tree.map(jnp.asarray, cast)

        def step(carry, _):
            theta, state = carry
            value, grads = jax.value_and_grad(loss)(theta, batch)
            updates, state = optimizer.update(
                grads, state, theta, value=value, grad=grads, batch=batch
            )
            theta = jax.tree.map(jnp.add, theta, updates)
            return (theta, state), (theta, state)

        @jax.jit
        def follow(start):
            return jax.lax.scan(step, (start, optimizer.init(start)), None, steps)[1]

        path, states = jax.tree.map(np.asarray, follow(start))
    rows = [vector(start)]
    rows += [vector(jax.tree.map(lambda x, i=i: x[i], path)) for i in range(steps)]
    return np.stack(rows), states


def at(states, i):
    """The state after update i."""
    return jax.tree.map(lambda x: x[i], states)


def dense(direction, start, steps):
    """The path of ``theta + direction(theta)``, by NumPy."""
    path = [vector(start)]
    for _ in range(steps):
        path.append(path[-1] + direction(path[-1]))
    return np.stack(path)


# --- Ridged logistic regression: convex, not quadratic -------------------------------

RIDGE = 0.1


def logit(theta, x):
    return theta["b"] + jnp.dot(theta["w"], x)


def log_loss(z, y):
    return jax.nn.softplus(z) - y * z


def logistic_loss(theta, batch):
    """The mean log loss plus ``RIDGE |theta|^2 / 2``."""
    x, y = batch
    fit = jnp.mean(log_loss(x @ theta["w"] + theta["b"], y))
    return fit + RIDGE / 2 * (jnp.sum(theta["w"] ** 2) + theta["b"] ** 2)


def logistic_derivatives(theta):
    """Gradient and Hessian at ``(b, w)``, of which RIDGE is a part."""
    features = np.column_stack([np.ones(len(X)), X])
    share = 1 / (1 + np.exp(-features @ theta))
    gradient = features.T @ (share - LABELS) / len(X) + RIDGE * theta
    weights = share * (1 - share) / len(X)
    return gradient, (features.T * weights) @ features + RIDGE * np.eye(4)


# --- A neuron fitted by least squares: not convex ------------------------------------


def neuron(theta, x):
    return theta["b"] * jnp.tanh(jnp.dot(theta["w"], x))


def half_square(z, y):
    return (z - y) ** 2 / 2


def neuron_loss(theta, batch):
    x, y = batch
    return jnp.mean(half_square(jax.vmap(neuron, (None, 0))(theta, x), y))


def neuron_derivatives(theta):
    """Loss, gradient and Gauss-Newton matrix at ``(b, w)``."""
    height, weights = theta[0], theta[1:]
    firing = np.tanh(X @ weights)
    residual = height * firing - TARGETS
    slopes = (height * (1 - firing**2))[:, None] * X
    jacobian = np.column_stack([firing, slopes])
    n = len(X)
    return (
        residual @ residual / (2 * n),
        jacobian.T @ residual / n,
        jacobian.T @ jacobian / n,
    )


# --- A double well in a rotated frame: a saddle at 0 ---------------------------------

FRAME = np.linalg.qr(RNG.normal(size=(4, 4)))[0]
CURVATURES = np.array([3.0, 1.0, -0.5, -2.0])
SADDLE = (FRAME * CURVATURES) @ FRAME.T


def well_loss(theta, matrix):
    """``theta' A theta / 2 + sum(theta^4) / 4``."""
    return theta @ matrix @ theta / 2 + jnp.sum(theta**4) / 4


def well_derivatives(theta):
    return SADDLE @ theta + theta**3, SADDLE + 3 * np.diag(theta**2)
