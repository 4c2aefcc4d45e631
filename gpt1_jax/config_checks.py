"""Which configs are possible, and which of them are the same run.

Nothing here touches a device or a file.
"""

import difflib
import hashlib
import json
import math
from typing import Any

from ml_collections import ConfigDict

from gpt1_jax.config import (
    ATTENTIONS,
    BACKBONES,
    COMPUTE_DTYPES,
    DISTRIBUTED,
    GRADED_TARGETS,
    JOBS,
    OPTIMIZERS,
    SCHEDULES,
    SOURCES,
    RunConfig,
    flatten,
    from_mapping,
)
from gpt1_jax.errors import UserError

# A workdir's run may be continued under another value of these: they change what is
# logged, kept or cached, and the trajectory by no more than rounding.
FREE_FIELDS = (
    "model.attention",
    "data.cache_dir",
    "train.accumulation_steps",
    "train.eval_batch_size",
    "train.remat",
    "train.log_every_steps",
    "train.eval_every_steps",
    "train.checkpoint_every_steps",
    "train.keep_checkpoints",
    "train.keep_at_steps",
    "train.profile_steps",
    "mesh.fsdp",
    "mesh.distributed",
    "mesh.coordinator_address",
    "mesh.num_processes",
    "mesh.process_id",
)


def checked(config: RunConfig | ConfigDict) -> RunConfig:
    """What a job was given as a RunConfig that has passed `validate`.

    Raises: UserError: as from_mapping and validate.
    """
    if not isinstance(config, RunConfig):
        config = from_mapping(config)
    validate(config)
    return config


def validate(config: RunConfig) -> None:
    """Checks all that can be known before data is read or a device asked.

    Raises: UserError: the first impossible value, what is allowed, the remedy.
    """
    for path, value in flatten(config).items():
        _check_range(path, value)
    for path, allowed in _CHOICES.items():
        value = flatten(config)[path]
        if value not in allowed:
            near = difflib.get_close_matches(str(value), allowed, n=1)
            hint = f"did you mean {near[0]}?" if near else "use one of these"
            raise UserError(f"config.{path}={value!r}; {'|'.join(allowed)}; {hint}")
    model, train, optim = config.model, config.train, config.optim
    if model.backbone == "transformer" and model.width % model.num_heads:
        most = min(model.width, 2 * model.num_heads, 1 << 16)
        divisors = [n for n in range(1, most + 1) if model.width % n == 0]
        nearest = sorted(divisors, key=lambda n: abs(n - model.num_heads))[:2]
        raise UserError(
            f"config.model.num_heads={model.num_heads}; must divide config.model.width="
            f"{model.width}; try {' or '.join(map(str, sorted(nearest)))}"
        )
    if model.attention_dropout and model.num_heads * model.context_length**2 >= 2**32:
        raise UserError(
            f"config.model.context_length={model.context_length}; at most "
            f"{math.isqrt((2**32 - 1) // model.num_heads)} with num_heads="
            f"{model.num_heads}, as a mask of attention counts its places in 32 bits; "
            "lower it or set config.model.attention_dropout=0.0"
        )
    if config.job == "pretrain" and config.init.path != "none":
        raise UserError(
            f"config.init.path={config.init.path!r}, but pre-training starts from "
            "scratch; leave it at none; the same command resumes a run"
        )
    if train.batch_size % train.accumulation_steps:
        raise UserError(
            f"config.train.accumulation_steps={train.accumulation_steps}; must divide "
            f"config.train.batch_size={train.batch_size}; change one of the two"
        )
    if config.mesh.process_id >= config.mesh.num_processes:
        raise UserError(
            f"config.mesh.process_id={config.mesh.process_id}; below config.mesh."
            f"num_processes={config.mesh.num_processes}; number processes from 0"
        )
    if optim.warmup_steps and optim.warmup_fraction:
        raise UserError(
            f"config.optim.warmup_steps={optim.warmup_steps} and config.optim."
            f"warmup_fraction={optim.warmup_fraction}; only one may be set; set the "
            "other to 0"
        )


_CHOICES = {
    "job": JOBS,
    "model.backbone": BACKBONES,
    "model.attention": ATTENTIONS,
    "model.compute_dtype": COMPUTE_DTYPES,
    "data.source": SOURCES,
    "task.graded_target": GRADED_TARGETS,
    "optim.name": OPTIMIZERS,
    "optim.schedule": SCHEDULES,
    "mesh.distributed": DISTRIBUTED,
}

# Closed intervals; an int or float field that is not named here must be >= 1 or > 0.
_RANGES = {
    "seed": (0, 2**32 - 1),
    "data.holdout_fraction": (0.0, 0.5),
    "data.storyworld_seed": (0, 2**32 - 1),
    "data.storyworld_megabytes": (0.01, 10000.0),
    "data.vocab_size": (300, 2**31 - 1),
    "model.context_length": (2, 2**20),
    "train.max_steps": (0, 2**31 - 1),
    "train.eval_every_steps": (0, 2**31 - 1),
    "train.checkpoint_every_steps": (0, 2**31 - 1),
    "train.keep_checkpoints": (2, 2**31 - 1),
    "train.profile_steps": (0, 1000),  # a trace is kept in memory
    "optim.warmup_steps": (0, 2**31 - 1),
    "optim.warmup_fraction": (0.0, 1.0),
    "optim.weight_decay": (0.0, 1.0),
    "optim.b1": (0.0, 0.9999),
    "optim.b2": (0.0, 0.999999),
    "model.embedding_dropout": (0.0, 0.99),
    "model.residual_dropout": (0.0, 0.99),
    "model.attention_dropout": (0.0, 0.99),
    "model.classifier_dropout": (0.0, 0.99),
    "task.lm_coef": (0.0, 100.0),
    "task.num_train_scored": (0, 2**31 - 1),
    "init.num_layers": (-2, 2**31 - 1),
    "mesh.process_id": (0, 2**31 - 1),
}


def _check_range(path: str, value: Any) -> None:
    if isinstance(value, tuple):
        if any(v < 1 for v in value):
            raise UserError(f"config.{path}={value}; steps >= 1; remove the others")
        return
    if isinstance(value, bool | str):
        return
    default = (1, 2**31 - 1) if isinstance(value, int) else (1e-30, 1e30)
    low, high = _RANGES.get(path, default)
    if not low <= value <= high:
        raise UserError(
            f"config.{path}={value}; from {low} to {high}; change --config.{path}"
        )


def conflicts(old: RunConfig, new: RunConfig) -> list[str]:
    """The fields, as `name: old -> new`, that keep `new` from continuing `old`."""
    was, now = flatten(old), flatten(new)
    differing = [
        path for path in was if was[path] != now[path] and path not in FREE_FIELDS
    ]
    grows = new.train.max_steps > old.train.max_steps > 0
    if new.optim.schedule == "constant" and not new.optim.warmup_fraction and grows:
        differing = [path for path in differing if path != "train.max_steps"]
    return [f"{path}: {was[path]!r} -> {now[path]!r}" for path in differing]


def fingerprint(config: RunConfig) -> str:
    """A sha256 of what a checkpoint's numbers depend on, data apart.

    Fields that have their defaults are left out, so that a new field changes nothing.
    """
    defaults = flatten(RunConfig())
    facts = {
        path: value
        for path, value in flatten(config).items()
        if value != defaults[path]
        and path not in FREE_FIELDS
        and (
            path.startswith(("model.", "optim.", "task.", "init."))
            or path in ("seed", "train.batch_size")
        )
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def warnings(config: RunConfig, total_steps: int) -> list[str]:
    """What is allowed but hardly meant, a sentence each."""
    found = []
    optim = config.optim
    if max(optim.warmup_steps, optim.warmup_fraction * total_steps) >= total_steps:
        found.append(
            f"the warm-up (config.optim.warmup_steps={optim.warmup_steps}, "
            f"warmup_fraction={optim.warmup_fraction}) is no shorter than the run of "
            f"{total_steps} steps: the peak learning rate is never reached"
        )
    late = [step for step in config.train.keep_at_steps if step > total_steps]
    if late:
        found.append(
            f"config.train.keep_at_steps={late} lie behind the run's last step "
            f"{total_steps} and are never saved"
        )
    return found
