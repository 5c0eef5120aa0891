"""Curvature of a loss: operators, spectra, traces and solves, each with its error."""

from jaxdl.curvature.arithmetic import add, damp, restrict, scale
from jaxdl.curvature.conditioning import (
    ConditionNumber,
    Sharpness,
    condition_number,
    sharpness,
)
from jaxdl.curvature.conjugate_gradients import Step, conjugate_gradient
from jaxdl.curvature.density import SpectralDensity, spectral_density
from jaxdl.curvature.eigenpairs import Eigenpairs, eigenpairs
from jaxdl.curvature.functions import (
    effective_dimension,
    log_determinant,
    matrix_function,
)
from jaxdl.curvature.gauss_newton import empirical_fisher_vp, fisher_vp, ggn_vp
from jaxdl.curvature.gradient_noise import (
    GradientNoise,
    gradient_noise_scale,
    noise_scale_of_batches,
)
from jaxdl.curvature.hessians import hessian, hvp
from jaxdl.curvature.minres import Solution, minres
from jaxdl.curvature.operators import (
    LinearOperator,
    from_matrix,
    from_matvec,
    materialize,
)
from jaxdl.curvature.signature import Inertia, InertiaBounds, inertia
from jaxdl.curvature.traces import (
    Estimate,
    Stopping,
    diagonal,
    frobenius_norm,
    trace,
)

__all__ = [
    "ConditionNumber",
    "Eigenpairs",
    "Estimate",
    "GradientNoise",
    "Inertia",
    "InertiaBounds",
    "LinearOperator",
    "Sharpness",
    "Solution",
    "SpectralDensity",
    "Step",
    "Stopping",
    "add",
    "condition_number",
    "conjugate_gradient",
    "damp",
    "diagonal",
    "effective_dimension",
    "eigenpairs",
    "empirical_fisher_vp",
    "fisher_vp",
    "frobenius_norm",
    "from_matrix",
    "from_matvec",
    "ggn_vp",
    "gradient_noise_scale",
    "hessian",
    "hvp",
    "inertia",
    "log_determinant",
    "materialize",
    "matrix_function",
    "minres",
    "noise_scale_of_batches",
    "restrict",
    "scale",
    "sharpness",
    "spectral_density",
    "trace",
]
