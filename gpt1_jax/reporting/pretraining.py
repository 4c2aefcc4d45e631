"""Pre-training runs beside the paper's."""

import collections
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gpt1_jax.config import FIELDS, ModelConfig, Role, RunConfig, flatten, role
from gpt1_jax.data.text import tokenizers
from gpt1_jax.errors import UserError
from gpt1_jax.models import backbone
from gpt1_jax.reporting import figures, paper, tables, words
from gpt1_jax.reporting.figures import Picture
from gpt1_jax.reporting.groups import Half
from gpt1_jax.reporting.page import Block
from gpt1_jax.reporting.runs import Run
from gpt1_jax.reporting.tables import NONE, NOT_FINISHED, Table
from gpt1_jax.workdirs import workdir as workdir_lib


def blocks(half: Half) -> list[Block]:
    """Returns the table of the runs, and the figure of their losses."""
    runs = half.of_job("pretrain")
    losses = ("train/loss", "eval/loss")
    shown = [run for run in runs if any(run.series(name)[0] for name in losses)]
    picture = Picture(
        "pretraining",
        "Loss over pre-training",
        "Lines: training loss, faint as logged, strong as a moving mean. Points: "
        "held-out loss.",
        functools.partial(draw, runs=shown),
    )
    return [table(runs), picture] if shown else [table(runs)]


def table(runs: Sequence[Run]) -> Table:
    """Returns the runs below the paper's."""
    default = RunConfig()
    count = backbone.num_parameters(default.model, default.data.vocab_size)
    theirs = [
        *("the paper", _sizes(default.model), tables.large(count)),
        *("100 epochs", NONE, NONE, f"{paper.PERPLEXITY:.1f}"),
    ]
    ours = [_row(run) for run in runs]
    return Table(
        "pretraining",
        "Pre-training",
        [
            *("run", "model", "parameters", "steps", "tokens seen"),
            *("unigram perplexity", "perplexity"),
        ],
        [theirs, *ours] if ours else [],
        missing=[] if ours else [theirs],
        notes=(
            "Perplexity per token on held-out books. The paper's is on BooksCorpus "
            "with 40,000 merges and a split that it does not state: perplexities of "
            "other vocabularies and books can't be compared with it. The unigram model "
            "knows how often each token occurs, and nothing else.",
        ),
        num_heads=2,
        emphasised=range(1, 1 + len(ours)),
    )


def _row(run: Run) -> list[str]:
    model, steps = run.config.model, run.result.get("steps", 0)
    path, sizes = run.config.init.path, _sizes(model)
    if path != "none":
        sizes += f", {words.in_words('init.path', path)}"
    num_tokens = steps * run.config.train.batch_size * model.context_length
    return [
        *(run.name, sizes, _num_parameters(run)),
        f"{steps:,}" if steps else NOT_FINISHED,
        tables.large(num_tokens) if steps else NONE,
        _perplexity(run, "eval/unigram_perplexity"),
        _perplexity(run, "eval/perplexity"),
    ]


def _sizes(model: ModelConfig) -> str:
    """Returns the sizes of a model, and what else of it differs from the paper's."""
    sizes = f"{model.num_layers} layers, width {model.width}"
    if model.backbone == "lstm":
        sizes = f"LSTM of {model.lstm_width} units"
    parts = [sizes, f"context {model.context_length}"]
    for path, value in flatten(RunConfig(model=model)).items():
        is_size = isinstance(value, int) and not isinstance(value, bool)
        is_shown = role(path) is Role.ARCHITECTURE and path != "model.backbone"
        if is_shown and not is_size and value != FIELDS[path].default:
            parts.append(words.in_words(path, value))
    return ", ".join(parts)


def _perplexity(run: Run, name: str) -> str:
    if not run.is_finished:
        return NOT_FINISHED
    return f"{run.metrics[name]:,.1f}" if name in run.metrics else NONE


def _num_parameters(run: Run) -> str:
    """Returns the count by the run's sizes and tokenizer; `–` if that is missing."""
    try:
        tokenizer = tokenizers.load(run.path / workdir_lib.TOKENIZER_DIR)
    except (UserError, OSError):
        return NONE
    return tables.large(backbone.num_parameters(run.config.model, tokenizer.vocab_size))


def draw(figure: Figure, runs: Sequence[Run]) -> None:
    """Draws loss against tokens seen: training as lines, held-out as points."""
    axes = figure.subplots()
    counts: collections.Counter[str] = collections.Counter()
    for run in runs:
        is_lstm = run.config.model.backbone == "lstm"
        variant = paper.LSTM if is_lstm else paper.FULL
        _draw_run(axes, run, figures.COLORS[variant], counts[variant])
        counts[variant] += 1
    axes.set_xlabel("training tokens seen (millions)")
    axes.set_ylabel("loss (nats per token)")
    axes.set_xlim(left=0)
    entries = dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True))
    axes.legend(entries.values(), entries.keys())


def _draw_run(axes: Axes, run: Run, color: str, number: int) -> None:
    """Draws the losses of a run, the `number`-th with this colour."""
    per_step = run.config.train.batch_size * run.config.model.context_length / 1e6
    steps, losses = run.series("train/loss")
    if steps:
        tokens = np.array(steps) * per_step
        line = figures.LINE_STYLES[number % len(figures.LINE_STYLES)]
        line = line if len(steps) > 1 else "."
        axes.plot(tokens, losses, color=color, alpha=0.25, linewidth=0.8)
        axes.plot(*figures.smoothed(tokens, losses), line, color=color, label=run.name)
    steps, losses = run.series("eval/loss")
    if steps:
        marker = figures.MARKERS[number % len(figures.MARKERS)]
        style: Any = {"markeredgecolor": "white", "markersize": 7, "zorder": 4}
        tokens = np.array(steps) * per_step
        axes.plot(tokens, losses, marker, color=color, label="held-out", **style)
