"""Which fine-tuned scores may stand in one cell: those that differ in the seed only."""

import dataclasses
import functools
import itertools
import statistics
import string
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from gpt1_jax import config as config_lib
from gpt1_jax.config import RunConfig
from gpt1_jax.data.tasks.rows import TASKS
from gpt1_jax.reporting import paper
from gpt1_jax.reporting import runs as runs_lib
from gpt1_jax.reporting.runs import Run
from gpt1_jax.workdirs import model_store

# What differs between the cells of a table, or changes no score.
_ANY = (
    "job",
    "seed",
    "task.name",
    "task.split",
    "task.lm_coef",
    "task.num_train_scored",
    "init.num_layers",
    *(p for p in config_lib.FIELDS if config_lib.role(p) in config_lib.FREE_ROLES),
)
# Of no effect on a run that starts from a model: its tokenizer comes from there.
_CORPUS = (
    "data.corpus",
    "data.eval_corpus",
    "data.holdout_fraction",
    "data.tokenizer",
    "data.openai_bpe_dir",
    "data.vocab_size",
    "data.storyworld_megabytes",
)
# May be another for another backbone, and for a model from scratch.
_OF_A_MODEL = ("init.path", "model.", *_CORPUS)
# May be another for another task, as in the paper.
_OF_A_TASK = ("train.", "optim.", "task.", "data.task_dir", "data.source", "data.tfds")

Facts = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Scored:
    """A fine-tuned model on a split, dev or test.

    trained: the config of the fine-tuning run. scores: {} while that has not finished,
    else fractions by the metric's name, as matched/accuracy.
    """

    run: Run
    trained: RunConfig
    task: str
    split: str
    scores: Mapping[str, float]
    checkpoint: str = ""

    @property
    def variant(self) -> str:
        """The row of Table 5 that it belongs to; "": none."""
        return variant(self.trained)

    @property
    def facts(self) -> dict[str, Any]:
        """The fields that must be equal for two of them to stand in one cell."""
        flat = config_lib.flatten(self.trained)
        left_out = set(_ANY) | (set(_CORPUS) if flat["init.path"] != "none" else set())
        facts = {name: x for name, x in flat.items() if name not in left_out}
        return facts | {"checkpoint scored": self.checkpoint or "the best"}


@dataclasses.dataclass(frozen=True)
class Cell:
    """What is known of a metric: values by seed, and how many runs have none yet."""

    values: tuple[float, ...] = ()
    num_unfinished: int = 0

    @property
    def median(self) -> float:
        """Over seeds, a fraction."""
        return statistics.median(self.values)


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """Scores that differ in task, split, variant and seed only; or in what is `mixed`.

    label: A, B ... where there are several, else "". differs: what tells it apart.
    """

    members: tuple[Scored, ...]
    label: str = ""
    differs: str = ""

    def cell(self, variant: str, task: str, *metrics: str, split: str = "dev") -> Cell:
        """The scores of a variant on a task, the mean of `metrics`.

        Of two runs of one seed, the first's.
        """
        mine = [
            member
            for member in self.members
            if (member.variant, member.task, member.split) == (variant, task, split)
        ]
        by_seed: dict[int, float] = {}
        for member in mine:
            if all(metric in member.scores for metric in metrics):
                value = statistics.fmean(member.scores[metric] for metric in metrics)
                by_seed.setdefault(member.trained.seed, value)
        unfinished = {m.trained.seed for m in mine if not m.scores} - by_seed.keys()
        return Cell(tuple(by_seed.values()), len(unfinished))

    def has(self, variant: str) -> bool:
        """Returns whether any run of the variant is in it, finished or not."""
        return any(member.variant == variant for member in self.members)


def variant(config: RunConfig) -> str:
    """The row of Table 5 that a fine-tuning run belongs to; "": none."""
    is_pretrained = config.init.path != "none" and config.init.num_layers != -2
    is_whole = config.init.num_layers in (-1, config.model.depth)
    has_auxiliary = config.task.lm_coef > 0
    if config.model.backbone == "lstm":
        return paper.LSTM if is_pretrained and is_whole and has_auxiliary else ""
    if not is_pretrained:
        return paper.NO_PRETRAINING if has_auxiliary else ""
    if not is_whole:
        return ""
    return paper.FULL if has_auxiliary else paper.NO_AUXILIARY


def scored(runs: Sequence[Run]) -> tuple[list[Scored], list[str]]:
    """The scores of fine-tuning runs, then of evaluations; and warnings."""
    found = [
        Scored(run, run.config, run.config.task.name, "dev", _scores(run))
        for run in runs
        if run.job == "finetune" and run.config.task.name in paper.TITLES
    ]
    warnings = []
    own = {run.config.task.name for run in runs if run.job == "finetune"}
    for run in runs:
        if run.job != "evaluate" or not run.is_finished:
            continue
        trained = runs_lib.source(run, runs)
        if trained is None:
            warnings.append(
                f"{run.path} scores a model that is not here any more, "
                f"{run.config.init.path}: left out of the tables"
            )
            continue
        found += _evaluated(run, trained)
        own.add(trained.task.name)
    if own := own - paper.TITLES.keys():
        warnings.append(
            f"{', '.join(sorted(own))}: in none of the paper's tables; their runs are "
            "under run facts only"
        )
    return found, warnings


def _evaluated(run: Run, trained: RunConfig) -> Iterator[Scored]:
    """The scores of an evaluation, on the table's splits only."""
    task, name = run.config.task.name or trained.task.name, run.config.task.split
    if task not in paper.TITLES:
        return
    _, step = model_store.workdir_and_step(run.config.init.path)
    scores = _scores(run)
    for split, sets in {"dev": TASKS[task].dev, "test": TASKS[task].test}.items():
        if name == split:
            yield Scored(run, trained, task, split, scores, str(step or ""))
            return
        for infix, one in sets.items():
            if name == one:
                named = {f"{infix}/{n}": value for n, value in scores.items()}
                yield Scored(run, trained, task, split, named, str(step or ""))


def _scores(run: Run) -> dict[str, float]:
    """The kept step's, by the name after eval/."""
    return {
        name.removeprefix("eval/"): value
        for name, value in run.metrics.items()
        if name.startswith("eval/")
    }


def group(members: Iterable[Scored]) -> list[Group]:
    """The members by what they have in common, large groups first; labels if several.

    Members of other settings of training, or of another kind of model, join a group
    where no row or column would mix them.
    """
    by_facts: dict[Hashable, list[Scored]] = {}
    for member in members:
        by_facts.setdefault(frozen(member.facts), []).append(member)
    merged: list[list[Scored]] = []
    for mine in sorted(by_facts.values(), key=lambda own: (_kind(own[0]), -len(own))):
        places = [there for there in merged if _may_join(mine, there)]
        if places:
            max(places, key=functools.partial(_num_beside, mine)).extend(mine)
        else:
            merged.append(list(mine))
    if len(merged) == 1:
        return [Group(tuple(merged[0]), differs=_varying(merged[0]))]
    differs = differences([mine[0].facts for mine in merged])
    return [
        Group(tuple(mine), label, "; ".join(filter(None, (text, *_details(mine)))))
        for mine, label, text in zip(merged, labels(), differs, strict=False)
    ]


def _num_beside(mine: list[Scored], there: list[Scored]) -> int:
    """How many of `there` score a task that `mine` score too."""
    tasks = {member.task for member in mine}
    return sum(member.task in tasks for member in there)


def _kind(member: Scored) -> int:
    """Transformers first, then those from scratch, then LSTMs."""
    if member.trained.model.backbone == "lstm":
        return 2
    return 1 if member.trained.init.path == "none" else 0


def _details(members: list[Scored]) -> Iterator[str]:
    """What the first of a group's members does not tell about it."""
    yield _varying(members)
    lstm = {m.trained.init.path: None for m in members if _kind(m) == 2}
    if lstm and _kind(members[0]) != 2:
        yield f"LSTM: init.path={', '.join(lstm)}"


def labels() -> Iterator[str]:
    """A, B, ... Z, AA, AB ..."""
    for length in itertools.count(1):
        for letters in itertools.product(string.ascii_uppercase, repeat=length):
            yield "".join(letters)


def frozen(facts: Facts) -> Hashable:
    """`facts` as a key."""
    return tuple(sorted(facts.items()))


def _may_join(mine: list[Scored], there: list[Scored]) -> bool:
    """Returns whether what they differ in would be mixed in no cell, row or column."""
    tasks = {member.task for member in mine}
    of_same_tasks = [member for member in there if member.task in tasks]
    near = [member for member in there if _kind(member) == _kind(mine[0])]
    if near:
        of_near = {member.task for member in near}
        return not tasks & of_near and _differ_in(mine[0], near[0], _OF_A_TASK)
    if of_same_tasks:
        return all(_differ_in(mine[0], o, _OF_A_MODEL) for o in of_same_tasks)
    return _differ_in(mine[0], there[0], (*_OF_A_MODEL, *_OF_A_TASK))


def _differ_in(one: Scored, other: Scored, allowed: tuple[str, ...]) -> bool:
    """Returns whether all that they differ in begins with one of `allowed`."""
    facts, others = one.facts, other.facts
    return all(
        facts.get(name) == others.get(name) or name.startswith(allowed)
        for name in facts.keys() | others.keys()
    )


def _varying(members: list[Scored]) -> str:
    """`train.max_steps 100 (CoLA), 200 (RTE)`, of what is another by task."""
    values: dict[str, dict[Any, dict[str, None]]] = {}
    for member in members:
        for name, value in member.facts.items():
            by_value = values.setdefault(name, {})
            by_value.setdefault(value, {})[paper.TITLES[member.task]] = None
    return "; ".join(
        f"{name} "
        + ", ".join(f"{value} ({', '.join(tasks)})" for value, tasks in found.items())
        for name, found in values.items()
        if len(found) > 1 and name.startswith(_OF_A_TASK)
    )


def differences(many: Sequence[Facts]) -> list[str]:
    """Of each its values of the facts that are not the same in all: `a 1, b 2`."""
    names = list(dict.fromkeys(name for facts in many for name in facts))
    differing = [
        name for name in names if len({facts.get(name, "-") for facts in many}) > 1
    ]
    return [
        ", ".join(f"{name}={facts[name]}" for name in differing if name in facts)
        for facts in many
    ]
