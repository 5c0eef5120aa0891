"""Closed forms: risk curves of double descent, critical points of linear networks.

The formulas compute in float64 even where JAX is set to 32 bits, and their results
are float64 arrays: ``float``, ``np.asarray`` and formatting keep every digit. JAX
itself may round around them while it is set to 32 bits:

- Arguments of a function under ``jax.jit``, and what ``jax.lax.map`` or ``scan`` hand
  on, are float32 before a formula sees them. Python numbers, and NumPy arrays
  through ``jax.vmap``, keep every digit.
- ``jax.grad`` gives derivatives in the dtype of its argument, so float32; computed
  in float64. ``jax.jvp`` and ``jax.jacfwd`` give float64.
- Arithmetic on the float64 results rounds them to float32 with a warning. Convert
  them to NumPy first, or work under ``jax.enable_x64(True)``.
"""

from jaxdl.theory.deterministic_equivalent import (
    degrees_of_freedom,
    effective_ridge,
    ridge_any_covariance,
)
from jaxdl.theory.gradient_flow import gradient_flow_isotropic
from jaxdl.theory.least_squares import (
    noise_lower_bound,
    ridgeless_exact,
    ridgeless_isotropic,
)
from jaxdl.theory.linear_networks import (
    LinearNetworkPoint,
    linear_network_critical_points,
    linear_network_point,
)
from jaxdl.theory.marchenko_pastur import (
    marchenko_pastur_density,
    marchenko_pastur_edges,
    marchenko_pastur_moment,
)
from jaxdl.theory.random_features import (
    ActivationMoments,
    activation_moments,
    random_features,
)
from jaxdl.theory.ridge import optimal_ridge, ridge_isotropic, ridge_misspecified
from jaxdl.theory.risk import Risk
from jaxdl.theory.two_speed import two_speed

__all__ = [
    "ActivationMoments",
    "LinearNetworkPoint",
    "Risk",
    "activation_moments",
    "degrees_of_freedom",
    "effective_ridge",
    "gradient_flow_isotropic",
    "linear_network_critical_points",
    "linear_network_point",
    "marchenko_pastur_density",
    "marchenko_pastur_edges",
    "marchenko_pastur_moment",
    "noise_lower_bound",
    "optimal_ridge",
    "random_features",
    "ridge_any_covariance",
    "ridge_isotropic",
    "ridge_misspecified",
    "ridgeless_exact",
    "ridgeless_isotropic",
    "two_speed",
]
