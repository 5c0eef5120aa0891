"""Training loops: compiled, vectorized over members, honest about failure."""

from jaxdl.train.bagging import bootstrap_rows, out_of_bag, subset_rows
from jaxdl.train.checkpoint import load_checkpoint, read_about, save_checkpoint
from jaxdl.train.drive import Fit, Snapshot
from jaxdl.train.early_stopping import EarlyStopping
from jaxdl.train.ensemble import fit_ensemble
from jaxdl.train.fit import fit
from jaxdl.train.groups import Ratio, by_group, group_means
from jaxdl.train.labels import check_labels
from jaxdl.train.restarts import best_of, restarts
from jaxdl.train.sampling import epoch_batches, random_batches
from jaxdl.train.supervised import evaluator, supervised
from jaxdl.train.tracking import Tracker

__all__ = [
    "EarlyStopping",
    "Fit",
    "Ratio",
    "Snapshot",
    "Tracker",
    "best_of",
    "bootstrap_rows",
    "by_group",
    "check_labels",
    "epoch_batches",
    "evaluator",
    "fit",
    "fit_ensemble",
    "group_means",
    "load_checkpoint",
    "out_of_bag",
    "random_batches",
    "read_about",
    "restarts",
    "save_checkpoint",
    "subset_rows",
    "supervised",
]
