"""Zero-shot scores of a model's checkpoints (Radford et al. 2018, Sec. 5, Figure 2)."""

import dataclasses
import functools
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from gpt1_jax import config as config_lib
from gpt1_jax import files, terminal
from gpt1_jax.config import RunConfig
from gpt1_jax.data.tasks import registry, task_data
from gpt1_jax.data.tasks.examples import Example
from gpt1_jax.distributed import mesh, multihost
from gpt1_jax.errors import NotFound, UserError
from gpt1_jax.evaluation import zeroshot
from gpt1_jax.evaluation.zeroshot import Candidate, Heuristic
from gpt1_jax.inference import language_model, scoring
from gpt1_jax.workdirs import metrics_log, model_store, session, starting_point
from gpt1_jax.workdirs import workdir as workdir_lib

# The weights that each row of metrics.jsonl belongs to.
_SCORED_FILE = "scored.json"


@dataclasses.dataclass(frozen=True)
class _Split:
    """The candidates of a split's examples, and their labels."""

    candidates: list[list[Candidate]]
    labels: np.ndarray


@multihost.ends_together
def run(
    config: RunConfig | ConfigDict, workdir: str | Path = "runs/zeroshot"
) -> dict[str, Any]:
    """Scores every checkpoint of the run in config.init.path; returns result.json.

    metrics.jsonl has a row for each checkpoint, with eval/TASK/METRIC and
    eval/TASK/normalised; result.json has the metrics of the newest. A checkpoint that
    has a row is not scored again. Without config.task.name all tasks with files in
    config.data.task_dir are scored.
    Raises: UserError, NotFound: no model, a task without a heuristic, no data.
    """
    began = time.monotonic()
    config, workdir = config_lib.checked(config), Path(workdir)
    starting_point.check_named(config, "a pre-trained", "runs/pretrain")
    given = [zeroshot.named(config.task.name)] if config.task.name else []
    session.prepare(config, workdir)
    config = starting_point.with_inherited(config, workdir)
    workdir_lib.check(workdir, config)
    settings = {
        "compute_dtype": config.model.compute_dtype,
        "attention": config.model.attention,
    }
    model = language_model.load(config.init.path, **settings)
    subject = f"{config.init.path}, zero-shot"
    terminal.say(mesh.describe(model.model.cfg, subject))
    data = task_data.open_data(config.data)
    terminal.say(f"task data: {data.directory}")
    scorer = _Scorer(model, data, given or _with_data(data))
    checkpoints = model_store.steps(config.init.path)
    identities = {step: model_store.identity(at) for step, at in checkpoints.items()}
    multihost.agree("the models", {f"step {s}": x for s, x in identities.items()})
    with session.lock(workdir):
        rows = _rows_so_far(workdir, identities, scorer.names)
        if multihost.is_first():
            workdir_lib.write_config(workdir, config)
        # -1: no row is kept, not even one of step 0.
        with metrics_log.MetricsLog(workdir, max(rows, default=-1)) as log:
            if not rows:
                log.write_text(0, "config", session.config_table(config))
            for step, path in checkpoints.items():
                if step not in rows:
                    rows[step] = scorer.row(
                        language_model.load(path, **settings).params
                    )
                    log.write(step, rows[step])
                    if multihost.is_first():
                        _write_scored(workdir, {s: identities[s] for s in rows})
                terminal.say(f"step {step:,}: {_shown(rows[step])}")
        last = max(identities)
        return session.write_result(
            workdir, config.job, steps=last, metrics=rows[last], began=began
        )


def _with_data(data: task_data.TaskData) -> list[Heuristic]:
    """Returns the heuristics whose tasks have files; warns about the others.

    Raises: NotFound: none is.
    """
    found: list[Heuristic] = []
    missing: list[Heuristic] = []
    for heuristic in zeroshot.HEURISTICS:
        is_there = all(
            data.has(registry.named(heuristic.task), split)
            for splits in _splits_of(heuristic).values()
            for split in splits
        )
        (found if is_there else missing).append(heuristic)
    names = ", ".join(heuristic.task for heuristic in missing)
    if not found:
        raise NotFound(
            f"{data.directory} has no files of {names}; those of at least one task are "
            "expected, in their official folders; check config.data.task_dir"
        )
    if missing:
        terminal.warn(f"{data.directory} has no files of {names}: left out")
    return found


def _splits_of(heuristic: Heuristic) -> dict[str, list[str]]:
    """Returns the splits to score, dev or else test, and the training split.

    Training data is only read to fit a threshold.
    """
    dev = list(registry.named(heuristic.task).dev.values())
    train = {"train": ["train"]} if heuristic.is_threshold else {}
    return {"scored": dev or ["test"]} | train


def _shown(row: dict[str, float]) -> str:
    """Returns the scores of a checkpoint in one line, without the normalised ones."""
    plain = {name: score for name, score in row.items() if "normalised" not in name}
    return ", ".join(
        f"{name.removeprefix('eval/')} {score:.4f}" for name, score in plain.items()
    )


def _write_scored(workdir: Path, identities: dict[int, str]) -> None:
    files.write_atomically(workdir / _SCORED_FILE, json.dumps(identities, indent=1))


def _rows_so_far(
    workdir: Path, identities: dict[int, str], names: set[str]
) -> dict[int, dict[str, float]]:
    """Returns the metrics of the checkpoints scored before, if all are unchanged.

    Args: identities: of the checkpoints that there are now, by step. names: of the
          metrics that are wanted.
    """
    path, scored = workdir / workdir_lib.METRICS_FILE, workdir / _SCORED_FILE
    if not path.is_file() or not scored.is_file():
        return {}
    before = json.loads(scored.read_text(encoding="utf-8"))
    if any(identities.get(int(step)) != name for step, name in before.items()):
        terminal.warn(
            f"{workdir} has scores of other checkpoints: all are scored again"
        )
        return {}
    rows = [row for row in metrics_log.read(path) if str(row["step"]) in before]
    if any(names != row.keys() - {"step"} for row in rows):
        terminal.warn(f"{workdir} has scores of other tasks: all are scored again")
        return {}
    return {
        int(row["step"]): {name: x for name, x in row.items() if name != "step"}
        for row in rows
    }


class _Scorer:
    """The candidates of all tasks, read once, and the function that scores them."""

    def __init__(
        self,
        model: language_model.LanguageModel,
        data: task_data.TaskData,
        heuristics: Sequence[Heuristic],
    ):
        self._context_length = model.config.model.context_length
        self._splits = {
            heuristic.task: {
                use: self._read(heuristic, data, model.tokenizer.encode, splits)
                for use, splits in _splits_of(heuristic).items()
            }
            for heuristic in heuristics
        }
        self._token_logp = scoring.make_token_logp(
            model.model, mesh.logits_chunk_elements()
        )

    @property
    def names(self) -> set[str]:
        """The names of the metrics in a row."""
        return {
            f"eval/{task}/{name}"
            for task in self._splits
            for name in (zeroshot.named(task).metric, "normalised")
        }

    def _read(
        self,
        heuristic: Heuristic,
        data: task_data.TaskData,
        encode: zeroshot.Encode,
        names: Sequence[str],
    ) -> _Split:
        task = registry.named(heuristic.task)
        examples: list[Example] = []
        for name in names:
            loaded = data.load(task, name)
            for note in loaded.notes:
                terminal.warn(note)
            examples += loaded.examples
            count = terminal.counted(len(loaded.examples), "example")
            terminal.say(f"{task.name} {name}: {count}")
        if any(example.label is None for example in examples):
            raise UserError(
                f"{task.name} {', '.join(names)}: an example has no label; all must "
                "have one, to be scored; use a split that has labels"
            )
        candidates = [heuristic.candidates(example, encode) for example in examples]
        labels = np.array([example.label for example in examples])
        if note := zeroshot.describe(candidates, self._context_length):
            terminal.warn(f"{task.name} {', '.join(names)}: {note}")
        return _Split(candidates, labels)

    def row(self, params: Any) -> dict[str, float]:
        """Returns eval/TASK/METRIC and eval/TASK/normalised of each heuristic."""
        row = {}
        for task, splits in self._splits.items():
            heuristic, threshold = zeroshot.named(task), 0.0
            if heuristic.is_threshold:
                fitted_on = splits["train"]
                scores_B = self._scores(heuristic, params, fitted_on)[:, 0]
                threshold = zeroshot.best_threshold(scores_B, fitted_on.labels)
            score_BC = self._scores(heuristic, params, splits["scored"])
            labels = splits["scored"].labels
            found = zeroshot.evaluate(heuristic, score_BC, labels, threshold)
            row[f"eval/{task}/{heuristic.metric}"] = found
            row[f"eval/{task}/normalised"] = heuristic.normalised(found)
        return row

    def _scores(self, heuristic: Heuristic, params: Any, split: _Split) -> np.ndarray:
        """Returns the score of each candidate of each example: score_BC."""
        score = functools.partial(
            scoring.score,
            self._token_logp,
            params,
            context_length=self._context_length,
        )
        length = self._context_length
        return zeroshot.scores(heuristic, split.candidates, score, length)
