"""The loss landscape: symmetries of weights, what they conserve, matching, paths."""

from jaxdl.landscape.activation_matching import match_activations
from jaxdl.landscape.assignment import (
    assign,
    assign_on_device,
)
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
from jaxdl.landscape.critical_points import (
    STATUSES,
    CriticalPoints,
    find_critical_points,
)
from jaxdl.landscape.degeneracy import (
    explained_directions,
)
from jaxdl.landscape.device_matching import (
    DeviceMatching,
    match_weights_on_device,
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
from jaxdl.landscape.escape import (
    Escape,
    escape_growth,
    escape_time,
    measure_escape,
)
from jaxdl.landscape.matching import (
    Matching,
    Start,
    match_weights,
)
from jaxdl.landscape.multilayer import mlp_symmetry
from jaxdl.landscape.orbits import (
    orbit_average,
    sampled_orbit_average,
)
from jaxdl.landscape.paths import (
    Barrier,
    Bezier,
    Path,
    barrier,
    bezier_path,
    linear_path,
    quadratic_path,
)
from jaxdl.landscape.slices import (
    Trajectory,
    eigenvector_directions,
    filter_normalize,
    random_direction,
    slice_1d,
    slice_2d,
    trajectory_directions,
)
from jaxdl.landscape.splitting import (
    SplitInertia,
    split_inertia,
    split_neuron,
    splitting_matrix,
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
from jaxdl.landscape.tied import (
    TiedRun,
    growth_rate,
    tie_units,
    tied_gap,
    train_tied,
)
from jaxdl.landscape.verification import (
    SymmetryCheck,
    check_symmetry,
)

__all__ = [
    "STATUSES",
    "Axis",
    "Barrier",
    "Bezier",
    "CriticalPoints",
    "DeviceMatching",
    "Element",
    "Escape",
    "Form",
    "Group",
    "GroupOrder",
    "Matching",
    "Move",
    "Path",
    "SplitInertia",
    "Start",
    "Symmetry",
    "SymmetryCheck",
    "TiedRun",
    "Trajectory",
    "act",
    "assign",
    "assign_on_device",
    "balancing_element",
    "barrier",
    "bezier_path",
    "canonical_element",
    "canonical_form",
    "check_symmetry",
    "compose",
    "cosines",
    "effective_learning_rate",
    "eigenvector_directions",
    "equilibrium_squared_norm",
    "escape_growth",
    "escape_time",
    "explained_directions",
    "filter_normalize",
    "find_critical_points",
    "group_order",
    "growth_rate",
    "identity_element",
    "inverse",
    "leaf_names",
    "linear_action",
    "linear_form",
    "linear_path",
    "linear_tangents",
    "logit_sums",
    "match_activations",
    "match_weights",
    "match_weights_on_device",
    "measure_escape",
    "mlp_symmetry",
    "momentum_quantity",
    "momentum_quantity_change",
    "orbit_average",
    "quadratic_path",
    "quantity",
    "quantity_change",
    "random_direction",
    "random_element",
    "rescaling_form",
    "sampled_orbit_average",
    "scale_hessian_products",
    "scale_tangents",
    "slice_1d",
    "slice_2d",
    "softmax_shift",
    "softmax_tangents",
    "split_inertia",
    "split_neuron",
    "splitting_matrix",
    "tie_units",
    "tied_gap",
    "train_tied",
    "trajectory_directions",
]
