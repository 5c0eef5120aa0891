"""The loss landscape: symmetries of weights, what they conserve, matching, paths."""

from jaxdl.landscape.canonical import (
    balancing_element,
    canonical_element,
    canonical_form,
)
from jaxdl.landscape.conserved import (
    Form,
    effective_learning_rate,
    equilibrium_squared_norm,
    linear_form,
    logit_sums,
    momentum_quantity,
    momentum_quantity_change,
    quantity,
    quantity_change,
    rescaling_form,
)
from jaxdl.landscape.elements import (
    Element,
    GroupOrder,
    Move,
    act,
    compose,
    group_order,
    identity_element,
    inverse,
    random_element,
)
from jaxdl.landscape.multilayer import mlp_symmetry
from jaxdl.landscape.orbits import (
    orbit_average,
    sampled_orbit_average,
)
from jaxdl.landscape.symmetry import (
    Axis,
    Group,
    Symmetry,
    leaf_names,
)
from jaxdl.landscape.tangents import (
    cosines,
    linear_action,
    linear_tangents,
    scale_hessian_products,
    scale_tangents,
    softmax_shift,
    softmax_tangents,
)
from jaxdl.landscape.verification import (
    SymmetryCheck,
    check_symmetry,
)

__all__ = [
    "Axis",
    "Element",
    "Form",
    "Group",
    "GroupOrder",
    "Move",
    "Symmetry",
    "SymmetryCheck",
    "act",
    "balancing_element",
    "canonical_element",
    "canonical_form",
    "check_symmetry",
    "compose",
    "cosines",
    "effective_learning_rate",
    "equilibrium_squared_norm",
    "group_order",
    "identity_element",
    "inverse",
    "leaf_names",
    "linear_action",
    "linear_form",
    "linear_tangents",
    "logit_sums",
    "mlp_symmetry",
    "momentum_quantity",
    "momentum_quantity_change",
    "orbit_average",
    "quantity",
    "quantity_change",
    "random_element",
    "rescaling_form",
    "sampled_orbit_average",
    "scale_hessian_products",
    "scale_tangents",
    "softmax_shift",
    "softmax_tangents",
]
