"""Double descent of ReLU random features on real images, one class against the rest."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from experiments._figures import (
    BLACK,
    BLUE,
    GRAY,
    GREEN,
    ORANGE,
    PURPLE,
    Plot,
    band,
    figure,
)
from experiments._findings import Finding, at_most, close
from jaxdl import theory
from jaxdl.models import linear, random_features


@dataclass(frozen=True)
class Config:
    """ReLU random features on the data set, targets one-hot."""

    n_train: int = 200
    """Training rows drawn for each trial; at most half of the data are drawn."""
    ratios: tuple[float, ...] = (
        *(0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.87, 0.93, 0.97, 1.0, 1.03),
        *(1.07, 1.13, 1.2, 1.3, 1.5, 1.75, 2.0, 2.56, 3.5, 5.0),
    )
    """Features per training row."""
    trials: int = 20
    """Draws of training rows and features at each width."""
    predicted_trials: int = 2
    """How many of them the deterministic equivalent is computed for."""
    ridges: tuple[float, ...] = (1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0)
    """Ridge strengths to choose from, in units of the features' mean squared norm
    divided by n_train."""

    def __post_init__(self):
        """Reject a sweep that could not show the peak.

        Raises:
            ValueError: Which field is wrong.
        """
        if not 0 < min(self.ratios) < 1 < max(self.ratios) < np.inf:
            raise ValueError(
                f"random_features.ratios must reach to both sides of 1, got "
                f"{self.ratios}"
            )
        if not 1 <= self.predicted_trials <= self.trials or self.n_train < 2:
            raise ValueError(
                "random_features needs n_train >= 2 and 1 <= predicted_trials <= "
                f"trials, got {self.n_train}, {self.predicted_trials}, {self.trials}"
            )
        if not self.ridges or min(self.ridges) <= 0:
            raise ValueError(
                f"random_features.ridges must be positive, got {self.ridges}"
            )


@dataclass(frozen=True)
class Result:
    """Squared errors, summed over the outputs and averaged over images; float64.

    Test risk is over the images that a trial did not train on. Population risk is over
    all images, those included: they are the population whose covariance theory gets.
    """

    n_train: int
    widths: np.ndarray  # (w,)
    ridgeless: np.ndarray  # (w, t), test risk
    ridged: np.ndarray  # (w, t), at the ridge whose median over trials is least
    ridgeless_error: np.ndarray  # (w, t), share of test images classified wrongly
    ridged_error: np.ndarray  # (w, t)
    ridgeless_population: np.ndarray  # (w, t), population risk
    ridged_population: np.ndarray  # (w, t)
    best_ridge: np.ndarray  # (w,), in units of Config.ridges
    ridgeless_predicted: np.ndarray  # (w, predicted_trials)
    ridged_predicted: np.ndarray  # (w, predicted_trials)
    smallest: np.ndarray  # (w, t), least non-zero singular value of the features
    rank: np.ndarray  # (w, t)
    zero_risk: float  # of predicting zero
    mean_risk: float  # of predicting the mean target


def work(config: Config) -> float:
    """Seconds this takes, roughly, on two cores."""
    widths = config.n_train * np.asarray(config.ratios)
    return float(10 + np.sum(config.trials * 6e-5 * widths + 1e-9 * widths**3))


def run(
    config: Config,
    key: jax.Array,
    x: np.ndarray,
    labels: np.ndarray,
    tick: Callable[[float], object],
) -> Result:
    """Sweep the widths; all trials of a width run as one program."""
    n = min(config.n_train, len(x) // 2)
    widths = sorted({max(1, round(n * ratio)) for ratio in config.ratios})
    with jax.enable_x64(True):
        images = jnp.asarray(centred(x))
        targets = jax.nn.one_hot(labels, int(labels.max()) + 1, dtype=float)
        ridges = jnp.asarray((0.0, *config.ridges))
        rows = []
        for width in widths:
            padded = _bucket(width)
            keys = jax.random.split(jax.random.fold_in(key, width), config.trials)
            row = _trials(keys, width, images, targets, ridges, n, padded)
            best = 1 + int(jnp.argmin(jnp.median(row["risk"][:, 1:], axis=0)))
            pair = jnp.asarray([0.0, float(ridges[best])])
            predicted = _predictions(
                keys[: config.predicted_trials], width, images, targets, pair, n, padded
            )
            rows.append({
                "ridgeless": row["risk"][:, 0],
                "ridged": row["risk"][:, best],
                "ridgeless_error": row["error"][:, 0],
                "ridged_error": row["error"][:, best],
                "best_ridge": ridges[best],
                "ridgeless_population": row["population"][:, 0],
                "ridged_population": row["population"][:, best],
                "ridgeless_predicted": predicted[:, 0],
                "ridged_predicted": predicted[:, 1],
                "smallest": row["smallest"],
                "rank": row["rank"],
            })
            rows[-1] = jax.tree.map(np.asarray, rows[-1])
            tick(1 / len(widths))
        columns = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        return Result(
            n_train=n,
            widths=np.array(widths),
            **columns,
            zero_risk=float(jnp.mean(jnp.sum(targets**2, 1))),
            mean_risk=float(jnp.sum(jnp.var(targets, 0))),
        )


def centred(x: np.ndarray) -> np.ndarray:
    """Flat images without the mean image, each scaled to a mean square of 1.

    Raw pixels are all positive and some are nearly always zero: features that are
    active on a few images only then carry the risk, which no theory of covariances
    sees. Centred and scaled images have no such features. The mean is that of all
    images, the population; no labels are used.
    """
    x = x.reshape(len(x), -1)
    x = x - x.mean(axis=0)
    size = np.sqrt(np.mean(x**2, axis=1, keepdims=True))
    return x / np.where(size > 0, size, 1)


def _bucket(width: int) -> int:
    """The next power of two, so that few programs serve all widths."""
    return max(64, 1 << (width - 1).bit_length())


def _features(key, width, images, padded):
    """Features of all images, ``(N, padded)``, zero beyond the width."""
    params = random_features.init(key, images.shape[1], padded)
    features = jax.vmap(random_features.apply, (None, 0))(params, images)
    return random_features.mask(features, width)


@partial(jax.jit, static_argnums=(5, 6))
def _trials(keys, width, images, targets, ridges, n, padded):
    """Risks, errors, rank and least singular value; a row a trial, a column a ridge."""

    def trial(key):
        feature_key, row_key = jax.random.split(key)
        features = _features(feature_key, width, images, padded)
        order = jax.random.permutation(row_key, len(images))
        rows, held_out = order[:n], order[n:]
        problem = linear.decompose(features[rows], targets[rows])
        unit = jnp.mean(jnp.sum(features**2, 1)) / n
        coefficients = jax.vmap(lambda r: linear.ridge(problem, r * unit))(ridges)
        outputs = jnp.einsum("np,rpk->rnk", features, coefficients)
        wrong = jnp.argmax(outputs, 2) != jnp.argmax(targets, 1)[None]
        squares = jnp.sum((outputs - targets[None]) ** 2, 2)
        return {
            "risk": jnp.mean(squares[:, held_out], 1),
            "error": jnp.mean(wrong[:, held_out], 1),
            "population": jnp.mean(squares, 1),
            "rank": problem.rank,
            "smallest": problem.singular_values[problem.rank - 1],
        }

    return jax.lax.map(trial, keys)


@partial(jax.jit, static_argnums=(5, 6))
def _predictions(keys, width, images, targets, ridges, n, padded):
    """The deterministic equivalent of `_trials`, given their features.

    The part of the targets that is not linear in the features acts as noise and
    stays as a risk.
    """

    def trial(key):
        feature_key, _ = jax.random.split(key)
        features = _features(feature_key, width, images, padded)
        eigenvalues, vectors = jnp.linalg.eigh(features.T @ features / len(images))
        inside = eigenvalues > 1e-12 * eigenvalues[-1]
        eigenvalues = jnp.where(inside, eigenvalues, 0)
        moments = vectors.T @ (features.T @ targets) / len(images)
        squares = jnp.sum(moments**2, 1)
        explained = jnp.where(inside, squares / jnp.where(inside, eigenvalues, 1), 0)
        left_out = jnp.mean(jnp.sum(targets**2, 1)) - jnp.sum(explained)
        coefficients = jnp.sqrt(
            jnp.where(inside, explained / jnp.where(inside, eigenvalues, 1), 0)
        )
        unit = jnp.sum(eigenvalues) / n

        def risk(ridge):
            excess = theory.ridge_any_covariance(
                eigenvalues, coefficients, n, ridge * unit, left_out
            )
            return excess.total + left_out

        return jax.vmap(risk)(ridges)

    return jax.lax.map(trial, keys)


def check(result: Result) -> list[Finding]:
    """Where the peak is, what removes it, and whether theory foresees it."""
    n, widths = result.n_train, result.widths
    ridgeless = np.median(result.ridgeless, 1)
    ridged = np.median(result.ridged, 1)
    away = 5 * np.abs(widths - n) >= n
    belkin = "Belkin et al. (2019), https://arxiv.org/abs/1812.11118"

    def gap(name: str) -> float:
        measured = np.median(getattr(result, f"{name}_population"), 1)
        predicted = np.median(getattr(result, f"{name}_predicted"), 1)
        return float(np.max(np.abs(measured / predicted - 1)[away]))

    equivalent = {
        "kind": "closed form",
        "source": "Hastie et al. (2022), https://arxiv.org/abs/1903.08560",
        "note": "population: all images, those trained on included, whose covariance "
        "the equivalent is given; widths nearer to n than 20 % are left out, where "
        "single draws scatter over orders of magnitude",
    }
    return [
        close(
            "random features: the median test risk peaks where features = training "
            "rows",
            expected=n,
            measured=int(widths[np.argmax(ridgeless)]),
            tolerance=0.08 * n,
            kind="published figure",
            source=belkin,
            unit="features",
        ),
        close(
            "random features: the smallest non-zero singular value is least there",
            expected=n,
            measured=int(widths[np.argmin(np.median(result.smallest, 1))]),
            tolerance=0.08 * n,
            kind="observation",
            source=belkin,
            unit="features",
        ),
        at_most(
            "random features: the second descent goes below the first: test risk at "
            "the largest width over the least at fewer features than rows",
            high=1.0,
            measured=ridgeless[-1] / np.min(ridgeless[widths < n]),
            kind="published figure",
            source=belkin,
            note="without ridge",
        ),
        at_most(
            "random features: at the largest width the test risk is below that of "
            "predicting the mean target: ratio",
            high=1.0,
            measured=ridgeless[-1] / result.mean_risk,
            kind="observation",
            source=belkin,
            note="without ridge",
        ),
        at_most(
            "random features: with the best ridge the test risk falls with every "
            "width: largest relative rise of the median from one width to the next",
            high=0.05,
            measured=max(0.0, float(np.max(ridged[1:] / ridged[:-1] - 1))),
            kind="observation",
            source="Nakkiran et al. (2021), https://arxiv.org/abs/2003.01897",
            note="the best ridge at a width is the one of least median test risk",
        ),
        at_most(
            "random features: the deterministic equivalent gives the median "
            "population risk without ridge: largest relative deviation",
            high=0.15,
            measured=gap("ridgeless"),
            **equivalent,
        ),
        at_most(
            "random features: the deterministic equivalent gives the median "
            "population risk at the best ridge: largest relative deviation",
            high=0.15,
            measured=gap("ridged"),
            **equivalent,
        ),
    ]


def plot(result: Result) -> Plot:
    """Risk, error, rank and least singular value against width."""
    median = np.median(result.ridgeless, 1)
    first, peak, last = (
        np.min(median[result.widths < result.n_train]),
        np.max(median),
        median[-1],
    )
    ridged = np.median(result.ridged[-1])
    drawn, (risk, error, spectrum) = figure(1, 3, width=10, height=3)
    for name, color, label in (
        ("ridgeless", BLUE, "minimum norm"),
        ("ridged", ORANGE, "best ridge"),
    ):
        for axes, key in (
            (risk, f"{name}_population"),
            (error, f"{name}_error"),
        ):
            low, median, high = np.quantile(getattr(result, key), (0.1, 0.5, 0.9), 1)
            band(axes, result.widths, low, median, high, label=label, color=color)
        predicted = np.median(getattr(result, f"{name}_predicted"), 1)
        predicted[predicted > 100 * result.mean_risk] = np.nan  # it is infinite at n
        risk.plot(result.widths, predicted, "--", color=BLACK, lw=1)
    risk.plot([], [], "--", color=BLACK, lw=1, label="theory")
    risk.axhline(result.mean_risk, color=GRAY, lw=0.8, ls=":", label="mean target")
    risk.set(ylabel="population risk", yscale="log", ylim=(None, 30 * result.mean_risk))
    error.set(ylabel="share of test images wrong", ylim=(0, 1))
    low, median, high = np.quantile(result.smallest, (0.1, 0.5, 0.9), 1)
    band(
        spectrum,
        result.widths,
        low,
        median,
        high,
        label="least singular value",
        color=GREEN,
    )
    spectrum.plot(
        result.widths,
        np.median(result.rank, 1) / result.n_train,
        color=PURPLE,
        label="rank / n",
    )
    spectrum.set(yscale="log", ylabel="singular value; rank / n")
    for axes, place in (
        (risk, "upper left"),
        (error, "upper left"),
        (spectrum, "lower left"),
    ):
        axes.set(xscale="log", xlabel="random features, p")
        axes.axvline(result.n_train, color=GRAY, lw=0.8)
        axes.legend(loc=place)
    return Plot(
        drawn,
        caption="ReLU random features, one class against the rest, "
        f"n = {result.n_train} training rows (vertical line); median and 10-90 % over "
        "draws of rows and features. Left: squared error over all images, of which the "
        "training rows are a part; theory is the deterministic equivalent, given the "
        "features' covariance over them. Middle: images not trained on.",
        alt="Risk, share of wrong images, and least singular value against the number "
        f"of random features. Without ridge the median test risk is {first:.2g} at its "
        f"least below p = n, {peak:.2g} at its highest and {last:.2g} at "
        f"{result.widths[-1]} features; with the best ridge it is {ridged:.2g} there.",
    )


def metrics(result: Result) -> Iterator[dict]:
    """One row a width, medians over trials."""
    columns = {
        name: np.median(values.reshape(len(values), -1), 1)
        for name, values in vars(result).items()
        if isinstance(values, np.ndarray)
    }
    for i in range(len(result.widths)):
        row = {name: float(values[i]) for name, values in columns.items()}
        yield {"part": "random_features", "width": int(row.pop("widths")), **row}
