"""Workdirs as files, without a run: what tests of the report read."""

import dataclasses
import json
from pathlib import Path

from gpt1_jax import config as config_lib
from gpt1_jax.config import RunConfig
from gpt1_jax.reporting import groups, runs
from gpt1_jax.reporting import scores as scores_lib

REAL = {"data.task_dir": "/data/glue"}
STORYWORLD = {"data.task_dir": "storyworld", "data.corpus": "storyworld"}
NOTHING = {"init.num_layers": -2}
NO_AUXILIARY = {"task.lm_coef": 0.0}
LSTM = {"model.backbone": "lstm", "init.path": "runs/pretrain-lstm"}


def put(root: Path, name: str, metrics=None, rows=(), **more) -> Path:
    """A workdir; `more` is the rest of result.json. Without metrics: not finished."""
    fields = more.pop("fields", {})
    config_dict = config_lib.to_config_dict(RunConfig())
    config_dict.update_from_flattened_dict(fields)
    config = config_lib.from_mapping(config_dict)
    workdir = root / name
    workdir.mkdir(parents=True)
    (workdir / "config.json").write_text(json.dumps(dataclasses.asdict(config)))
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (workdir / "metrics.jsonl").write_text(lines)
    if metrics is not None:
        result = {"job": config.job, "steps": 300, "metrics": metrics}
        result |= {"seconds": 61.0, "devices": ["cpu"]} | more
        (workdir / "result.json").write_text(json.dumps(result))
    return workdir


def put_finetuned(root: Path, name: str, task: str, scores=None, rows=(), **fields):
    """A fine-tuning run from runs/pretrain on official data; scores by metric."""
    metrics = scores and {f"eval/{name}": value for name, value in scores.items()}
    given = fields.pop("fields", {})
    basis = {"job": "finetune", "task.name": task, "init.path": "runs/pretrain"}
    return put(root, name, metrics, rows, fields=basis | REAL | given)


def grouped(root: Path) -> list[groups.Group]:
    """The groups of all fine-tuned scores under `root`."""
    found, _, _ = runs.read([root])
    scored, _ = scores_lib.scored(found)
    return groups.group(member for member in scored if member.variant)


def row_of(table, *heads: str) -> dict[str, str]:
    """The row that begins with `heads`, by the columns' names."""
    (row,) = (row for row in table.rows if tuple(row[: len(heads)]) == heads)
    assert len(row) == len(table.columns)
    return dict(zip(table.columns, row, strict=True))
