"""Training loops: compiled, vectorized over members, honest about failure."""

from jaxdl.train.ensemble import fit_ensemble
from jaxdl.train.fit import Fit, fit
from jaxdl.train.sampling import epoch_batches
from jaxdl.train.supervised import supervised

__all__ = ["Fit", "epoch_batches", "fit", "fit_ensemble", "supervised"]
