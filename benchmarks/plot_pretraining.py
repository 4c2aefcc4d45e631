"""The figure of pre-training runs: loss against tokens, n-gram models beside it.

    python -m benchmarks.plot_pretraining --workdirs runs/pretrain \
        --ngrams ngrams.json --output pretraining.png

--ngrams is what `python -m benchmarks.ngrams --output` wrote. A run may be unfinished.
"""

import json
import math
from pathlib import Path

import matplotlib
import numpy as np
from absl import flags
from matplotlib import pyplot as plt

from gpt1_jax import terminal
from gpt1_jax.cli import app
from gpt1_jax.errors import UserError
from gpt1_jax.workdirs import metrics_log
from gpt1_jax.workdirs import workdir as workdir_lib

matplotlib.use("Agg")

# The moving average is over this share of a run's rows.
_SMOOTHED_SHARE = 0.05
# Room for the n-gram models' labels, as a share of the tokens.
_LABEL_SHARE = 0.22
# Room for the lowest one's label, as a share of the losses' range.
_BELOW_SHARE = 0.04
_PERPLEXITIES = [k * 10**n for n in range(6) for k in (1, 1.5, 2, 3, 5, 7)]

_FLAGS = flags.FlagValues()
_WORKDIRS = flags.DEFINE_list(
    "workdirs", None, "Runs, A,B,C.", required=True, flag_values=_FLAGS
)
_NGRAMS = flags.DEFINE_string(
    "ngrams", "", "JSON file of benchmarks.ngrams.", flag_values=_FLAGS
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "PNG file to write.", required=True, flag_values=_FLAGS
)


def moving_average(values: np.ndarray, width: int) -> np.ndarray:
    """The mean of the `width` values around each that has so many: no padding."""
    return np.convolve(values, np.full(width, 1 / width), mode="valid")


def _series(
    rows: list[dict[str, float]], name: str, tokens_per_step: int
) -> tuple[np.ndarray, np.ndarray]:
    """Tokens in millions and the values of the metric `name`, where it was logged."""
    logged = [(row["step"], row[name]) for row in rows if name in row]
    steps, values = np.array(logged).reshape(-1, 2).T
    return steps * tokens_per_step / 1e6, values


def draw_run(axes: plt.Axes, workdir: Path, color: str, name: str) -> float:
    """Draws a run's losses; returns how many million tokens it was trained on."""
    config = workdir_lib.read_config(workdir)
    rows = metrics_log.read(workdir / workdir_lib.METRICS_FILE)
    tokens_per_step = config.train.batch_size * config.model.context_length
    tokens, losses = _series(rows, "train/loss", tokens_per_step)
    if not len(losses):
        raise UserError(
            f"{workdir} has logged no training loss; at least one row is needed; wait "
            "for the run's first"
        )
    axes.plot(tokens, losses, color=color, alpha=0.3, linewidth=0.8)
    width = 1 + 2 * round(len(losses) * _SMOOTHED_SHARE / 2)  # odd: centred
    middle = tokens[width // 2 : len(tokens) - width // 2]
    label = f"{name}training loss, mean of {width} logged steps"
    axes.plot(middle, moving_average(losses, width), color=color, label=label)
    eval_tokens, eval_losses = _series(rows, "eval/loss", tokens_per_step)
    if len(eval_losses):
        last = eval_losses[-1]
        axes.plot(
            eval_tokens,
            eval_losses,
            color=color,
            linewidth=0,
            marker="o",
            markersize=7,
            markeredgecolor="white",
            zorder=4,
            label=f"{name}held-out loss: {last:.2f}, perplexity {math.exp(last):,.0f}",
        )
    return tokens[-1]


def draw_ngrams(axes: plt.Axes, perplexities: dict[str, float], right: float) -> None:
    """Draws a line for each n-gram model, its label ending at `right`."""
    ranked = sorted(perplexities.items(), key=lambda item: item[1])
    for rank, (name, perplexity) in enumerate(ranked):
        axes.axhline(
            math.log(perplexity),
            color="0.35",
            linestyle=(0, (5, 3)),
            linewidth=1,
            label="" if rank else "held-out loss of n-gram models",
        )
        # The lowest is labelled below its line: lines may be close.
        axes.annotate(
            f"{name}: {perplexity:,.0f}",
            (right, math.log(perplexity)),
            xytext=(-4, 3 if rank else -4),
            textcoords="offset points",
            ha="right",
            va="bottom" if rank else "top",
            color="0.25",
        )
    low, high = axes.get_ylim()
    axes.set_ylim(low - _BELOW_SHARE * (high - low), high)


def draw_perplexities(axes: plt.Axes) -> None:
    """Adds a right-hand axis that reads the losses of the left as perplexities."""
    low, high = axes.get_ylim()
    shown = [p for p in _PERPLEXITIES if low <= math.log(p) <= high]
    right = axes.twinx()
    right.set_ylim(low, high)
    right.set_yticks([math.log(p) for p in shown], [f"{p:,.0f}" for p in shown])
    right.set_ylabel("perplexity")
    right.spines["top"].set_visible(False)


def draw(workdirs: list[Path], ngram_perplexities: dict[str, float]) -> plt.Figure:
    """The figure: one colour a run."""
    figure, axes = plt.subplots(figsize=(8, 4.8), layout="constrained")
    trained = []
    for number, workdir in enumerate(workdirs):
        name = f"{workdir.name}: " if len(workdirs) > 1 else ""
        trained.append(draw_run(axes, workdir, f"C{number}", name))
    margin = _LABEL_SHARE if ngram_perplexities else 0.02
    axes.set_xlim(0, max(trained) * (1 + margin))
    draw_ngrams(axes, ngram_perplexities, axes.get_xlim()[1])
    draw_perplexities(axes)
    axes.set_title(_title(workdirs), loc="left", weight="bold")
    axes.set_xlabel("training tokens seen (millions)")
    axes.set_ylabel("loss (nats per token)")
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    axes.spines["top"].set_visible(False)
    axes.legend(frameon=False, loc="upper right")
    return figure


def _title(workdirs: list[Path]) -> str:
    if len(workdirs) > 1:
        return "Pre-training"
    model = workdir_lib.read_config(workdirs[0]).model
    return (
        f"Pre-training: {model.num_layers} layers, width {model.width}, "
        f"context {model.context_length}"
    )


def main() -> None:
    """Runs the command."""
    perplexities = {}
    if _NGRAMS.value:
        comparison = json.loads(Path(_NGRAMS.value).read_text(encoding="utf-8"))
        perplexities = comparison["ngram_perplexity"]
    figure = draw([Path(name) for name in _WORKDIRS.value], perplexities)
    figure.savefig(_OUTPUT.value, dpi=150)
    terminal.say(f"wrote {_OUTPUT.value}")


if __name__ == "__main__":
    app.run(main, _FLAGS)
