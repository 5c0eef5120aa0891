"""Sign descent and Lion: steps of one length in every coordinate."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.optim.base import GradientTransformation, chain, keep_dtype, stateless
from jaxdl.optim.domains import outside
from jaxdl.optim.learning_rate import scale_by_learning_rate
from jaxdl.optim.moments import ema, first_moment
from jaxdl.optim.regularization import Mask, add_decayed_weights
from jaxdl.types import Params, Scalar, Schedule


def sign_sgd(learning_rate: Scalar | Schedule) -> GradientTransformation:
    """Sign descent, ``theta - learning_rate * sign(g)``.

    Args:
        learning_rate: A constant ``>= 0``, or a schedule; the length of the step in
            each coordinate.

    Returns:
        An optimizer.

    References:
        Bernstein, Wang, Azizzadenesheli, Anandkumar (2018), signSGD: compressed
        optimisation for non-convex problems, algorithm 1.
        https://arxiv.org/abs/1802.04434
    """
    return chain(scale_by_sign(), scale_by_learning_rate(learning_rate))


def scale_by_sign() -> GradientTransformation:
    """Replace each entry by its sign: -1, 0 or 1; NaN stays.

    Returns:
        A transformation.

    References:
        Bernstein, Wang, Azizzadenesheli, Anandkumar (2018), signSGD: compressed
        optimisation for non-convex problems, algorithm 1.
        https://arxiv.org/abs/1802.04434
    """
    return stateless(lambda updates, _: jax.tree.map(jnp.sign, updates))


def lion(
    learning_rate: Scalar | Schedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.99,
    *,
    weight_decay: Scalar | Schedule = 1e-3,
    mask: Mask = None,
    mu_dtype: Any = None,
) -> GradientTransformation:
    """Lion: the sign of a mean of the gradient, with decoupled weight decay.

    Args:
        learning_rate: A constant ``>= 0``, or a schedule; the length of the step in
            each coordinate.
        b1: Weight of the running mean in the step, in ``[0, 1)``.
        b2: Decay of the running mean, in ``[0, 1)``.
        weight_decay: A constant ``>= 0``, or a schedule; also times the learning rate.
        mask: Which leaves decay, as in `masked`; all where None.
        mu_dtype: Of the mean; that of each parameter where None.

    Returns:
        An optimizer that needs the parameters; `scale_by_lion` has the formula.

    References:
        Chen et al. (2023), Symbolic discovery of optimization algorithms, program 1.
        https://arxiv.org/abs/2302.06675
    """
    return chain(
        scale_by_lion(b1, b2, mu_dtype=mu_dtype),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )


class LionState(NamedTuple):
    """Running mean of the gradient; same tree structure as the parameters."""

    mu: Params


def scale_by_lion(
    b1: Scalar = 0.9, b2: Scalar = 0.99, *, mu_dtype: Any = None
) -> GradientTransformation:
    """The sign of a mean of the gradient and its running mean.

    With gradient g at each update, and mu = 0 before the first::

        u  = sign(b1 mu + (1 - b1) g)
        mu = b2 mu + (1 - b2) g

    Args:
        b1: Weight of the running mean in the step, in ``[0, 1)``.
        b2: Decay of the running mean, in ``[0, 1)``.
        mu_dtype: Of the mean; that of each parameter where None.

    Returns:
        A transformation.

    Raises:
        ValueError: If ``b1`` or ``b2`` is a Python number outside its domain.

    References:
        Chen et al. (2023), Symbolic discovery of optimization algorithms, program 1.
        https://arxiv.org/abs/2302.06675

    Examples:
        >>> transform = scale_by_lion(b1=0.5, b2=0.5)
        >>> state = transform.init(jnp.zeros(()))
        >>> for gradient in (4.0, -1.0, -1.0):
        ...     updates, state = transform.update(jnp.array(gradient), state)
        ...     print(updates)
        1.0
        1.0
        -1.0
    """
    if problem := outside("[0, 1)", b1=b1, b2=b2):
        raise ValueError(problem)

    def init(params):
        return LionState(first_moment(params, mu_dtype))

    def update(updates, state, params=None):
        del params

        def direction(g, m):
            return keep_dtype(jnp.sign(b1 * m + (1 - b1) * g), g)

        directions = jax.tree.map(direction, updates, state.mu)
        mu = jax.tree.map(lambda m, g: ema(b2, m, g), state.mu, updates)
        return directions, LionState(mu)

    return GradientTransformation(init, update)
