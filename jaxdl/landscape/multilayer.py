"""The symmetry of our multilayer perceptrons."""

from jaxdl.landscape.symmetry import Axis, Group, Symmetry, leaf_names
from jaxdl.nn import ACTIVATIONS
from jaxdl.types import Params

ODD = ("tanh", "erf", "sine", "identity")
"""``phi(-z) = -phi(z)``: a unit may change its sign."""

HOMOGENEOUS = ("relu", "leaky_relu", "identity")
"""``phi(c z) = c phi(z)`` for ``c > 0``: scales in and out cancel."""

BLIND_TO_SCALE = ("threshold",)
"""``phi(c z) = phi(z)`` for ``c > 0``: weights in may be scaled alone."""


def mlp_symmetry(params: Params, activation: str) -> Symmetry:
    """The symmetry of a `jaxdl.models.mlp` with an activation.

    The units of each hidden layer may change places. For an odd activation (tanh, erf,
    sine, identity) each may change its sign; for a positively homogeneous one (relu,
    leaky_relu, identity) weights in may be multiplied by a positive number that divides
    weights out; the threshold ignores a positive factor of what it is given.

    Not declared, as they are not of this form: the general linear group of the
    identity, see `linear_action`; ``sigmoid(-z) = 1 - sigmoid(z)``, which changes a
    sign and moves the next bias; multiples of pi in the biases of the sine.

    Args:
        params: From `jaxdl.models.mlp.init`, or of its form; only shapes are looked at.
        activation: A name in `jaxdl.nn.ACTIVATIONS`.

    Returns:
        Groups ``hidden0``, ``hidden1`` and so on.

    Raises:
        ValueError: If there is no activation of that name, or the parameters are not
            those of a multilayer perceptron.

    Examples:
        >>> import jax
        >>> from jaxdl.landscape import group_order
        >>> from jaxdl.models import mlp
        >>> params = mlp.init(jax.random.key(0), (3, 5, 4, 2))
        >>> group_order(mlp_symmetry(params, "relu"))
        GroupOrder(discrete=2880, continuous=9)
        >>> group_order(mlp_symmetry(params, "tanh"))
        GroupOrder(discrete=1474560, continuous=0)
    """
    if activation not in ACTIVATIONS:
        raise ValueError(
            f"activation must be one of {[*ACTIVATIONS]}, got {activation!r}"
        )
    leaves = {name: leaf.shape for name, leaf in leaf_names(params).items()}
    kernels = [f"{layer}/kernel" for layer in range(len(params))]
    for before, kernel in zip([None, *kernels], kernels, strict=False):
        shape = leaves.get(kernel, ())
        if len(shape) != 2 or (before and leaves[before][1] != shape[0]):
            raise ValueError(
                "params must be the layers of a multilayer perceptron, got shapes "
                f"{leaves}"
            )
    out = 0 if activation in BLIND_TO_SCALE else -1
    groups, axes = {}, []
    for layer in range(len(params) - 1):
        name = f"hidden{layer}"
        groups[name] = Group(
            leaves[kernels[layer]][1],
            signs=activation in ODD,
            scales=activation in HOMOGENEOUS + BLIND_TO_SCALE,
        )
        axes.append(Axis(kernels[layer], 1, name, power=1))
        if f"{layer}/bias" in leaves:
            axes.append(Axis(f"{layer}/bias", 0, name, power=1))
        axes.append(Axis(kernels[layer + 1], 0, name, power=out))
    return Symmetry(groups, axes)
