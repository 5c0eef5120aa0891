"""Training loops: compiled, vectorized over members, honest about failure."""

from jaxdl.train.ensemble import fit_ensemble
from jaxdl.train.fit import Fit, Snapshot, fit
from jaxdl.train.sampling import epoch_batches
from jaxdl.train.supervised import supervised
from jaxdl.train.tracking import Tracker

__all__ = [
    "Fit",
    "Snapshot",
    "Tracker",
    "epoch_batches",
    "fit",
    "fit_ensemble",
    "supervised",
]
