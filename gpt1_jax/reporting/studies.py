"""What runs show beyond the paper's tables: as series for figures, and their tables.

Pre-training; scores against layers transferred; zero-shot scores against pre-training
steps; the auxiliary objective's gain against the size of the training set.
"""

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax

from gpt1_jax import config as config_lib
from gpt1_jax import workdir as workdir_lib
from gpt1_jax.config import ModelConfig
from gpt1_jax.data import tokenizers
from gpt1_jax.data.task_rows import TASKS
from gpt1_jax.evaluation import zeroshot
from gpt1_jax.exits import UserError
from gpt1_jax.models import backbone
from gpt1_jax.reporting import groups as groups_lib
from gpt1_jax.reporting import paper, results, tables
from gpt1_jax.reporting.groups import Cell, Group, Scored
from gpt1_jax.reporting.runs import Run
from gpt1_jax.reporting.tables import NONE, NOT_FINISHED, NOT_RUN, Table
from gpt1_jax.training import session

_NOTHING = -2


def pretraining_table(runs: Sequence[Run], *, is_synthetic: bool) -> Table:
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
    return session.num_parameters(jax.eval_shape(init, jax.random.key(0)))


@dataclasses.dataclass(frozen=True, eq=False)
class Transfer:
    """A curve of Figure 2, left: cells by layers taken over; -2: nothing at all.

    train: {} where the runs did not score training examples.
    """

    task: str
    metric: str
    depth: int
    dev: Mapping[int, Cell]
    train: Mapping[int, Cell]
    label: str = ""
    differs: str = ""


def transfers(members: Iterable[Scored]) -> list[Transfer]:
    """The studies of layer transfer: one task, one setting, part of the layers too."""
    studies: dict[Any, dict[int, dict[int, Scored]]] = {}
    facts = {}
    for member in members:
        config = member.trained
        if member.split != "dev" or member.run.job != "finetune":
            continue
        if config.model.backbone != "transformer" or config.init.path == "none":
            continue
        own = member.facts | {"task.lm_coef": config.task.lm_coef}
        key = member.task, groups_lib.frozen(own)
        facts[key] = own
        num_layers = config.init.num_layers
        num_layers = config.model.depth if num_layers == -1 else num_layers
        by_seed = studies.setdefault(key, {}).setdefault(num_layers, {})
        by_seed.setdefault(config.seed, member)
    keys = [key for key in studies if _has_part(studies[key])]
    differs = groups_lib.differences([facts[key] for key in keys])
    labels = groups_lib.labels()
    return [
        _transfer(key[0], studies[key], next(labels) if text else "", text)
        for key, text in zip(keys, differs, strict=True)
    ]


def _has_part(study: Mapping[int, Mapping[int, Scored]]) -> bool:
    """Whether some run takes over a part, neither nothing nor all."""
    depth = next(iter(next(iter(study.values())).values())).trained.model.depth
    return len(study) > 1 and bool(study.keys() - {_NOTHING, depth})


def _transfer(
    task: str, study: Mapping[int, Mapping[int, Scored]], label: str, differs: str
) -> Transfer:
    reading = paper.LAYER_TRANSFER.get(task)
    metric = reading.metric if reading else TASKS[task].metrics[0]
    dev, train, depth = {}, {}, 0
    # The sample of training examples is of all kinds: it has no infix.
    train_name = f"train_eval/{metric.rpartition('/')[2]}"
    for num_layers in sorted(study):
        runs = list(study[num_layers].values())
        depth = runs[0].trained.model.depth
        unfinished = sum(not one.run.is_finished for one in runs)
        dev[num_layers] = Cell(
            tuple(one.scores[metric] for one in runs if metric in one.scores),
            unfinished,
        )
        of_training = [one.run.metrics.get(train_name) for one in runs]
        values = tuple(value for value in of_training if value is not None)
        if values:
            train[num_layers] = Cell(values, unfinished)
    return Transfer(task, metric, depth, dev, train, label, differs)


def transfer_table(studies: Sequence[Transfer], *, is_synthetic: bool) -> Table:
    """Figure 2, left, in numbers, and the paper's readings."""
    rows = []
    for study in studies:
        for num_layers, cell in study.dev.items():
            rows.append(
                [
                    _name(study),
                    layers_title(num_layers, study.depth),
                    tables.score(cell),
                    tables.score(study.train[num_layers])
                    if num_layers in study.train
                    else NONE,
                    tables.seeds(cell),
                ]
            )
    if not studies:
        rows.append(["ours", *[NOT_RUN] * 4])
    readings = [
        [f"the paper, {reading.title}", layers, f"{dev:.0f}", train, NONE]
        for reading in paper.LAYER_TRANSFER.values()
        for layers, dev, train in (
            ("0 of 12", reading.first, NONE),
            ("12 of 12", reading.last, f"{reading.train_last:.0f}"),
        )
    ]
    legend = [f"{s.label}: {s.differs}" for s in studies if s.label]
    return Table(
        "layer-transfer",
        "Figure 2, left: score against layers transferred",
        ("task", "layers transferred", "dev", "train", "seeds"),
        rows + readings,
        notes=(
            "In percent. 0: the embeddings only; none: not even these. The paper's "
            "numbers are read off its figure, to about a point.",
            *legend,
        ),
        is_synthetic=is_synthetic,
        num_heads=2,
        emphasised=frozenset(range(len(rows))) if studies else frozenset(),
    )


def _name(study: Transfer) -> str:
    return f"{paper.metric_title(study.task, study.metric)} {study.label}".strip()


def layers_title(num_layers: int, depth: int) -> str:
    """`none` or `2 of 4`."""
    return "none" if num_layers == _NOTHING else f"{num_layers} of {depth}"


@dataclasses.dataclass(frozen=True, eq=False)
class ZeroShot:
    """The curves of Figure 2, right, of one model."""

    run: Run
    label: str
    differs: str

    @property
    def backbone(self) -> str:
        """transformer or lstm."""
        return self.run.config.model.backbone

    def tasks(self) -> list[str]:
        """The tasks that were scored."""
        names = [heuristic.task for heuristic in zeroshot.HEURISTICS]
        return [name for name in names if self.curve(name)[0]]

    def curve(self, task: str) -> tuple[list[int], list[float]]:
        """Steps of pre-training, and scores between chance, 0, and the reference, 1."""
        return self.run.series(f"eval/{task}/normalised")


def zero_shots(runs: Iterable[Run]) -> list[ZeroShot]:
    """Of each model that was scored, with labels where two have one backbone."""
    found = [run for run in runs if run.job == "zeroshot"]
    backbones = [run.config.model.backbone for run in found]
    if len(set(backbones)) == len(found):
        return [ZeroShot(run, "", "") for run in found]
    differs = groups_lib.differences(
        [{"run": run.name, "init.path": run.config.init.path} for run in found]
    )
    return [
        ZeroShot(run, label, text)
        for run, label, text in zip(found, groups_lib.labels(), differs, strict=False)
    ]


def zero_shot_table(found: Sequence[ZeroShot], *, is_synthetic: bool) -> Table:
    """The raw scores at each model's last checkpoint."""
    rows = []
    for one in found:
        for task in one.tasks():
            heuristic = zeroshot.named(task)
            steps, values = one.run.series(f"eval/{task}/{heuristic.metric}")
            _, scaled = one.curve(task)
            rows.append(
                [
                    paper.ZERO_SHOT_TITLES[task],
                    f"{BACKBONES[one.backbone]} {one.label}".strip(),
                    f"{steps[-1]:,}",
                    tables.percent(values[-1]),
                    tables.percent(heuristic.chance),
                    tables.percent(heuristic.reference),
                    f"{scaled[-1]:.2f}".replace("-", "−"),
                    f"{paper.ZERO_SHOT_LAST[task]:.2f}",
                ]
            )
    if not rows:
        rows = [
            [paper.ZERO_SHOT_TITLES[task], *[NOT_RUN] * 6, f"{last:.2f}"]
            for task, last in paper.ZERO_SHOT_LAST.items()
        ]
    return Table(
        "zero-shot",
        "Figure 2, right: zero-shot scores at the last checkpoint",
        (
            *("task", "model", "step", "score", "guessing", "reference"),
            *("on the scale", "paper"),
        ),
        rows,
        notes=(
            "Scores in percent, accuracy or (CoLA) Matthews correlation; the scale is "
            "0 for guessing and 1 for the reference, the best earlier model (the "
            "paper's own references are not stated). The paper's is where its "
            "Transformer ends, read off its figure.",
            *(f"{one.label}: {one.differs}" for one in found if one.label),
        ),
        is_synthetic=is_synthetic,
        num_heads=2,
        emphasised=frozenset(range(len(rows))) if found else frozenset(),
    )


BACKBONES = {"transformer": "Transformer", "lstm": "LSTM"}


@dataclasses.dataclass(frozen=True)
class Gain:
    """The auxiliary objective's on a task, in points; `ours` by group."""

    task: str
    num_train: int
    paper: float
    ours: tuple[float | None, ...]


def gains(groups: Sequence[Group]) -> list[Gain]:
    """What the full model has over the one without, by size of the training set."""
    found = []
    for task in paper.COLUMNS["Table 5"]:
        full, without = (
            paper.ABLATIONS[name].percent[task]
            for name in (paper.FULL, paper.NO_AUXILIARY)
        )
        ours = tuple(_gain(group, task) for group in groups)
        size = TASKS[task].num_examples["train"]
        found.append(Gain(task, size, full - without, ours))
    return sorted(found, key=lambda gain: gain.num_train)


def _gain(group: Group, task: str) -> float | None:
    full, without = (
        results.ablation_cell(group, name, task)
        for name in (paper.FULL, paper.NO_AUXILIARY)
    )
    if not full.values or not without.values:
        return None
    return 100 * (full.median - without.median)


def gains_table(groups: Sequence[Group], *, is_synthetic: bool) -> Table:
    """The gains in numbers."""
    found = gains(groups)
    shown = [
        n for n, g in enumerate(groups) if any(one.ours[n] is not None for one in found)
    ]
    columns = [f"ours {groups[n].label}".strip() for n in shown] or ["ours"]
    rows = []
    for gain in found:
        ours = [gain.ours[n] for n in shown] or [None]
        rows.append(
            [
                paper.TITLES[gain.task],
                *([] if is_synthetic else [f"{gain.num_train:,}"]),
                tables.signed(gain.paper),
                *(NOT_RUN if x is None else tables.signed(x) for x in ours),
            ]
        )
    size = (
        "storyworld's tasks are all of one size: there is nothing to see of a trend."
        if is_synthetic
        else "Sizes are of the official training sets, however many of the examples "
        "a run has seen."
    )
    return Table(
        "auxiliary-gain",
        "What the auxiliary objective gains, in points",
        ("task", *([] if is_synthetic else ["training examples"]), "paper", *columns),
        rows,
        notes=(
            "The full model's score of Table 5 less that without the auxiliary LM. The "
            f"paper: larger data sets benefit, smaller do not (Sec. 5). {size}",
            *results.legend([groups[n] for n in shown]),
        ),
        is_synthetic=is_synthetic,
    )
