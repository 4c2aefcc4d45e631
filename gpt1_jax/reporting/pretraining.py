"""Pre-training runs beside the paper's."""

import dataclasses
import functools
from collections.abc import Sequence

import jax

from gpt1_jax import config as config_lib
from gpt1_jax.config import ModelConfig
from gpt1_jax.data.text import tokenizers
from gpt1_jax.errors import UserError
from gpt1_jax.models import backbone
from gpt1_jax.reporting import paper, tables
from gpt1_jax.reporting.runs import Run
from gpt1_jax.reporting.tables import NONE, NOT_FINISHED, NOT_RUN, Table
from gpt1_jax.training import keys
from gpt1_jax.workdirs import session
from gpt1_jax.workdirs import workdir as workdir_lib


def table(runs: Sequence[Run], *, is_synthetic: bool) -> Table:
    """Each pre-training run beside the paper's."""
    rows = [_paper_pretraining()]
    for run in runs:
        model, train = run.config.model, run.config.train
        steps = run.result.get("steps", 0)
        per_step = train.batch_size * model.context_length
        rows.append(
            [
                run.name,
                _sizes(model),
                _num_parameters(run),
                f"{steps:,}" if steps else NOT_FINISHED,
                tables.large(steps * per_step) if steps else NONE,
                _perplexity(run, "eval/unigram_perplexity"),
                _perplexity(run, "eval/perplexity"),
            ]
        )
    if not runs:
        rows.append(["ours", *[NOT_RUN] * 6])
    return Table(
        "pretraining",
        "Pre-training",
        (
            *("run", "model", "parameters", "steps", "tokens seen"),
            *("unigram perplexity", "perplexity"),
        ),
        rows,
        notes=(
            "Perplexity per token on books that were held out. The paper's is on "
            "BooksCorpus, with 40,000 merges and a split that it does not state: "
            "perplexities of other vocabularies and books can't be compared with it. "
            "The unigram's knows how often each token occurs, and nothing else.",
        ),
        is_synthetic=is_synthetic,
        num_heads=2,
        emphasised=frozenset(range(1, len(rows))) if runs else frozenset(),
    )


def _paper_pretraining() -> list[str]:
    default = config_lib.RunConfig()
    count = _count_parameters(default.model, default.data.vocab_size)
    return [
        *("the paper", _sizes(default.model), tables.large(count)),
        *("100 epochs", NONE, NONE, f"{paper.PERPLEXITY:.1f}"),
    ]


def _sizes(model: ModelConfig) -> str:
    if model.backbone == "lstm":
        return f"LSTM of {model.lstm_width} units, context {model.context_length}"
    return (
        f"{model.num_layers} layers, width {model.width}, context "
        f"{model.context_length}"
    )


def _perplexity(run: Run, name: str) -> str:
    value = run.metrics.get(name)
    return (
        NOT_FINISHED
        if not run.is_finished
        else NONE
        if value is None
        else f"{value:,.1f}"
    )


def _num_parameters(run: Run) -> str:
    """By the sizes of the model and the workdir's tokenizer."""
    try:
        tokenizer = tokenizers.load(run.path / workdir_lib.TOKENIZER_DIR)
    except (UserError, OSError):
        return NONE
    return tables.large(_count_parameters(run.config.model, tokenizer.vocab_size))


@functools.cache
def _count_parameters(cfg: ModelConfig, vocab_size: int) -> int:
    cfg = dataclasses.replace(cfg, compute_dtype="float32")
    model = backbone.make(cfg, vocab_size)
    init = functools.partial(backbone.init_params, model)
    return session.num_parameters(jax.eval_shape(init, keys.make_key(0)))
