"""Numbers of the paper that are not in a task's own row (Radford et al. 2018).

The scores of single tasks, and those of the best earlier systems, are in
data.tasks.rows.
"""

import dataclasses

from gpt1_jax.data.tasks.rows import TASKS
from gpt1_jax.data.tasks.task import PaperScore

# Sec. 4.1: "a very low token level perplexity of 18.4 on this corpus".
PERPLEXITY = 18.4
# Table 4, and its best earlier system.
GLUE = PaperScore("GLUE", 72.8, "Table 4", 68.9, "Multi-task BiLSTM + ELMo + Attn")

# Table 1, in its order.
KINDS = (
    ("Natural language inference", ("snli", "mnli", "qnli", "rte", "scitail")),
    ("Question answering", ("race", "storycloze")),
    ("Sentence similarity", ("mrpc", "qqp", "stsb")),
    ("Classification", ("sst2", "cola")),
)

# The tasks of each table's columns, in order.
COLUMNS = {
    "Table 2": ("mnli", "snli", "scitail", "qnli", "rte"),
    "Table 3": ("storycloze", "race"),
    "Table 4": ("cola", "sst2", "mrpc", "stsb", "qqp"),
    "Table 5": ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte"),
}

# The GLUE score is the mean over these.
GLUE_TASKS = (*COLUMNS["Table 5"], "wnli")

TITLES = {
    "cola": "CoLA",
    "sst2": "SST-2",
    "mrpc": "MRPC",
    "stsb": "STS-B",
    "qqp": "QQP",
    "mnli": "MNLI",
    "qnli": "QNLI",
    "rte": "RTE",
    "wnli": "WNLI",
    "ax": "GLUE diagnostics",
    "snli": "SNLI",
    "scitail": "SciTail",
    "race": "RACE",
    "storycloze": "Story Cloze",
    "dpr": "DPR",
}

METRIC_TITLES = {
    "accuracy": "accuracy",
    "f1": "F1",
    "matthews": "Matthews corr.",
    "pearson": "Pearson corr.",
    "spearman": "Spearman corr.",
}


@dataclasses.dataclass(frozen=True)
class Ablation:
    """A row of Table 5; `average` as printed: the last one is cut off, not rounded."""

    title: str
    average: float
    percent: dict[str, float]


def _row(title: str, average: float, *percent: float) -> Ablation:
    return Ablation(title, average, dict(zip(COLUMNS["Table 5"], percent, strict=True)))


def _full_percent(task: str) -> float:
    """Returns the score in Tables 2 and 4; for MNLI the mean of its two sets."""
    metric = TASKS[task].metrics[0]
    scores = [s.percent for s in TASKS[task].paper if s.metric.endswith(metric)]
    return round(sum(scores) / len(scores), 1)


FULL, NO_PRETRAINING, NO_AUXILIARY, LSTM = (
    "full",
    "no pre-training",
    "no auxiliary LM",
    "LSTM",
)
ABLATIONS = {
    FULL: _row("Transformer, full", 74.7, *map(_full_percent, COLUMNS["Table 5"])),
    NO_PRETRAINING: _row(
        "without pre-training", 59.9, 18.9, 84.0, 79.4, 30.9, 65.5, 75.7, 71.2, 53.8
    ),
    NO_AUXILIARY: _row(
        "without the auxiliary LM", 75.0, 47.9, 92.0, 84.9, 83.2, 69.8, 81.1, 86.9, 54.4
    ),
    LSTM: _row("LSTM, full", 69.1, 30.3, 90.5, 83.2, 71.8, 68.1, 73.7, 81.1, 54.6),
}


@dataclasses.dataclass(frozen=True)
class Reading:
    """A pair of curves of Figure 2, left, in percent, read off to about a point.

    first, last: dev scores with the embeddings only and with all twelve layers.
    train_last: the training score with all layers.
    """

    title: str
    metric: str
    first: float
    last: float
    train_last: float


LAYER_TRANSFER = {
    "mnli": Reading("MNLI-m, dev", "matched/accuracy", 72.0, 82.0, 97.0),
    "race": Reading("RACE, dev", "accuracy", 40.0, 60.0, 92.0),
}

# The step at which the curves of Figure 2, right, end.
ZERO_SHOT_LAST_STEP = 1_000_000


def scores_of(table: str) -> list[tuple[str, PaperScore]]:
    """Returns (task, score) for each result of the paper's model in Table 2, 3 or 4."""
    return [
        (task, score)
        for task in COLUMNS[table]
        for score in TASKS[task].paper
        if score.table == table
    ]


def title(task: str) -> str:
    """Returns the task's name as the paper writes it; an own task's is as given."""
    return TITLES.get(task, task)


def metric_title(task: str, metric: str) -> str:
    """Returns `MNLI matched, accuracy` for `matched/accuracy` of mnli."""
    infix, _, name = metric.rpartition("/")
    return f"{title(task)} {infix}".strip() + f", {METRIC_TITLES.get(name, name)}"
