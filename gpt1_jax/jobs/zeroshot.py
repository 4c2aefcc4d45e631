"""Zero-shot scores of a model's checkpoints (Radford et al. 2018, Sec. 5, Figure 2)."""

import dataclasses
import functools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from gpt1_jax import config as config_lib
from gpt1_jax import files, model_store, pretrained, terminal
from gpt1_jax import workdir as workdir_lib
from gpt1_jax.config import RunConfig
from gpt1_jax.data import task_data, tasks
from gpt1_jax.evaluation import scoring, zeroshot
from gpt1_jax.evaluation.zeroshot import Candidate, Heuristic
from gpt1_jax.exits import UserError
from gpt1_jax.training import hosts, mesh, metrics_log, process, session

# Which weights each row of metrics.jsonl is about.
_SCORED_FILE = "scored.json"


@dataclasses.dataclass(frozen=True)
class _Split:
    """The candidates of a split's examples, and their labels."""

    candidates: list[list[Candidate]]
    labels: np.ndarray


def run(
    config: RunConfig | ConfigDict, workdir: str | Path = "runs/zeroshot"
) -> dict[str, Any]:
    """Scores every checkpoint of the run in config.init.path; returns result.json.

    A row of metrics.jsonl for each checkpoint, with eval/TASK/METRIC and /normalised;
    the newest one's in result.json. A checkpoint that has a row is not run again.
    Raises: UserError: no model, a task without a heuristic, no data.
    """
    began = time.monotonic()
    config, workdir = config_lib.checked(config), Path(workdir)
    if config.init.path == "none":
        raise UserError(
            "config.init.path=none; a pre-trained workdir, or one of its checkpoints/"
            "STEP, is expected; set it, as in --config.init.path=runs/pretrain"
        )
    heuristics = zeroshot.HEURISTICS
    if config.task.name:
        heuristics = (zeroshot.named(config.task.name),)
    process.prepare(config.data.cache_dir, config.mesh)
    workdir_lib.check(workdir, config)
    model = pretrained.load(config.init.path, _dtype(config))
    subject = f"{config.init.path}, zero-shot"
    terminal.say(mesh.describe(model.model.cfg, subject))
    data = task_data.open_data(task_data.chosen(model.config.data, config.data))
    terminal.say(f"task data: {data.directory}")
    splits = {
        heuristic.task: _read(
            heuristic,
            data,
            model.tokenizer.encode,
            model.config.model.context_length,
        )
        for heuristic in heuristics
    }
    token_logp = scoring.make_token_logp(model.model, mesh.logits_chunk_elements())

    def score(params: Any, texts: list[np.ndarray]) -> list[np.ndarray]:
        context_length = model.config.model.context_length
        return scoring.score(token_logp, params, texts, context_length=context_length)

    paths = model_store.steps(config.init.path)
    identities = {step: model_store.identity(path) for step, path in paths.items()}
    with session.hold(workdir):
        rows = _rows_so_far(workdir, identities)
        if hosts.is_first():
            workdir_lib.write_config(workdir, config)
        with metrics_log.open_log(workdir, max(rows, default=0)) as log:
            for step, path in paths.items():
                if step not in rows:
                    params = pretrained.load(path).params
                    rows[step] = _score_all(
                        functools.partial(score, params),
                        splits,
                        model.config.model.context_length,
                    )
                    log.write(step, rows[step])
                    if hosts.is_first():
                        _note_scored(workdir, {s: identities[s] for s in rows})
                terminal.say(f"step {step:,}: {_shown(rows[step])}")
        last = max(identities)
        return session.write_result(
            workdir, config.job, steps=last, metrics=rows[last], began=began
        )


def _shown(row: dict[str, float]) -> str:
    """The scores of a checkpoint in one line, without their places on the scale."""
    plain = {name: score for name, score in row.items() if "normalised" not in name}
    return ", ".join(
        f"{name.removeprefix('eval/')} {score:.4f}" for name, score in plain.items()
    )


def _dtype(config: RunConfig) -> str:
    """The number format that the config asks for; "": the model's own."""
    dtype = config.model.compute_dtype
    return "" if dtype == "auto" else dtype


def _note_scored(workdir: Path, identities: dict[int, str]) -> None:
    files.write_atomically(workdir / _SCORED_FILE, json.dumps(identities, indent=1))


def _rows_so_far(
    workdir: Path, identities: dict[int, str]
) -> dict[int, dict[str, float]]:
    """The metrics of each checkpoint that was scored before, if all are as they were.

    Args: identities: of the checkpoints that there are now, by step.
    """
    path, scored = workdir / workdir_lib.METRICS_FILE, workdir / _SCORED_FILE
    if not path.is_file() or not scored.is_file():
        return {}
    before = json.loads(scored.read_text(encoding="utf-8"))
    if any(identities.get(int(step)) != name for step, name in before.items()):
        terminal.warn(f"{workdir} has scores of other checkpoints: all are scored anew")
        return {}
    rows = [row for row in metrics_log.read(path) if str(row["step"]) in before]
    return {
        int(row["step"]): {name: x for name, x in row.items() if name != "step"}
        for row in rows
    }


def _read(
    heuristic: Heuristic,
    data: task_data.TaskData,
    encode: zeroshot.Encode,
    context_length: int,
) -> dict[str, _Split]:
    """The split to score on, dev or the test set where there is none, and `train`.

    Training data is read where a threshold is fitted on it only.
    """
    task = tasks.named(heuristic.task)
    names = list(task.dev.values()) or ["test"]
    found = {}
    wanted = {"scored": names, "train": ["train"] if heuristic.is_threshold else []}
    for use, splits in wanted.items():
        if not splits:
            continue
        examples = []
        for split in splits:
            loaded = data.load(task, split)
            for note in loaded.notes:
                terminal.warn(note)
            examples += loaded.examples
            terminal.say(f"{task.name} {split}: {len(loaded.examples):,} examples")
        if any(example.label is None for example in examples):
            raise UserError(
                f"{task.name} {', '.join(splits)}: an example has no label; all must "
                "have one, to be scored; use the official file"
            )
        candidates = [heuristic.candidates(example, encode) for example in examples]
        labels = np.array([example.label for example in examples])
        if note := zeroshot.describe(candidates, context_length):
            terminal.warn(f"{task.name} {', '.join(splits)}: {note}")
        found[use] = _Split(candidates, labels)
    return found


def _score_all(
    score: Callable[[list[np.ndarray]], list[np.ndarray]],
    splits: dict[str, dict[str, _Split]],
    context_length: int,
) -> dict[str, float]:
    """eval/TASK/METRIC and eval/TASK/normalised of each heuristic."""
    row = {}
    for task, own in splits.items():
        heuristic, threshold = zeroshot.named(task), 0.0
        score_BC = {
            use: zeroshot.scores(heuristic, split.candidates, score, context_length)
            for use, split in own.items()
        }
        if heuristic.is_threshold:
            threshold = zeroshot.best_threshold(
                score_BC["train"][:, 0], own["train"].labels
            )
        labels = own["scored"].labels
        found = zeroshot.evaluate(heuristic, score_BC["scored"], labels, threshold)
        row[f"eval/{task}/{heuristic.metric}"] = found
        row[f"eval/{task}/normalised"] = heuristic.normalised(found)
    return row
