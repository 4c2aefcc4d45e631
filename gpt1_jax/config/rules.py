"""The rules about which configs are valid and which may resume the same run.

Rules about single fields are derived from their declarations.
"""

import hashlib
import json
import math
from typing import Any

from ml_collections import ConfigDict

from gpt1_jax.config.conversion import from_mapping
from gpt1_jax.config.fields import FIELDS, Role, RunConfig, flatten, role
from gpt1_jax.errors import UserError, suggestion

# A resumed run may change the fields of these roles.
FREE_ROLES = (Role.EXECUTION, Role.LOGGING)
_FINGERPRINTED_ROLES = (Role.ARCHITECTURE, Role.REGULARISATION, Role.TRAJECTORY)


def checked(config: RunConfig | ConfigDict) -> RunConfig:
    """Returns a job's config as a RunConfig that has passed `validate`.

    Raises: UserError: as from_mapping and validate.
    """
    if not isinstance(config, RunConfig):
        config = from_mapping(config)
    validate(config)
    return config


def validate(config: RunConfig) -> None:
    """Checks a config without reading data or using a device.

    Raises: UserError: names the first invalid value, the allowed values and a remedy.
    """
    for path, value in flatten(config).items():
        _check_value(path, value)
    for check in (_check_model, _check_counts):
        check(config)


def _check_value(path: str, value: Any) -> None:
    """Raises UserError unless a field's own rules allow `value`."""
    choices, bounds = (FIELDS[path].metadata[name] for name in ("choices", "range"))
    if choices and value not in choices:
        hint = suggestion(str(value), choices, "use one of these")
        raise UserError(f"config.{path}={value!r}; {'|'.join(choices)}; {hint}")
    if bounds is None:
        return
    low, high = bounds
    for number in value if isinstance(value, tuple) else (value,):
        if not low <= number <= high:  # true for nan too
            raise UserError(
                f"config.{path}={value}; from {low} to {high}; change --config.{path}"
            )


def _check_model(config: RunConfig) -> None:
    model = config.model
    if model.backbone == "transformer" and model.width % model.num_heads:
        most = min(model.width, 2 * model.num_heads, 1 << 16)
        divisors = [n for n in range(1, most + 1) if model.width % n == 0]
        nearest = sorted(divisors, key=lambda n: abs(n - model.num_heads))[:2]
        raise UserError(
            f"config.model.num_heads={model.num_heads}; must divide config.model.width="
            f"{model.width}; try {' or '.join(map(str, sorted(nearest)))}"
        )
    has_mask = model.backbone == "transformer" and model.attention_dropout
    if has_mask and model.num_heads * model.context_length**2 >= 2**32:
        raise UserError(
            f"config.model.context_length={model.context_length}; at most "
            f"{math.isqrt((2**32 - 1) // model.num_heads)} with num_heads="
            f"{model.num_heads}, as the dropout mask of attention is indexed with 32 "
            "bits; lower it or set config.model.attention_dropout=0.0"
        )


def _check_counts(config: RunConfig) -> None:
    train, optim, mesh = config.train, config.optim, config.mesh
    if train.batch_size % train.accumulation_steps:
        raise UserError(
            f"config.train.accumulation_steps={train.accumulation_steps}; must divide "
            f"config.train.batch_size={train.batch_size}; change one of the two"
        )
    if config.data.windows == "document" and train.accumulation_steps > 1:
        raise UserError(
            f"config.train.accumulation_steps={train.accumulation_steps}; 1 is "
            "expected with config.data.windows=document, whose windows have different "
            "lengths; lower config.train.batch_size, or use windows=contiguous"
        )
    if mesh.process_id >= mesh.num_processes:
        raise UserError(
            f"config.mesh.process_id={mesh.process_id}; below config.mesh."
            f"num_processes={mesh.num_processes}; number processes from 0"
        )
    if optim.warmup_steps and optim.warmup_fraction:
        raise UserError(
            f"config.optim.warmup_steps={optim.warmup_steps} and config.optim."
            f"warmup_fraction={optim.warmup_fraction}; only one may be set; set the "
            "other to 0"
        )


def conflicts(old: RunConfig, new: RunConfig) -> list[str]:
    """Returns the changes, as `name: old -> new`, that keep `new` from resuming `old`.

    Fields of the roles execution and logging are free. A length of training may grow if
    the schedule does not depend on it.
    """
    before, after = flatten(old), flatten(new)
    is_schedule_open = (
        new.optim.schedule == "constant" and not new.optim.warmup_fraction
    )
    return [
        f"{path}: {before[path]!r} -> {after[path]!r}"
        for path in FIELDS
        if before[path] != after[path]
        and role(path) not in FREE_ROLES
        and not (
            is_schedule_open
            and FIELDS[path].metadata["may_grow"]
            and after[path] > before[path] > 0
        )
    ]


def is_longer(old: RunConfig, new: RunConfig) -> bool:
    """Returns whether `new` is `old` but for a longer training."""
    before, after = flatten(old), flatten(new)
    changed = [
        path
        for path in FIELDS
        if before[path] != after[path] and role(path) not in FREE_ROLES
    ]
    return bool(changed) and all(
        (FIELDS[path].metadata["may_grow"] or path == "train.epochs")
        and after[path] > before[path] > 0
        for path in changed
    )


def fingerprint(config: RunConfig) -> str:
    """Returns a sha256 of what a checkpoint's numbers depend on, apart from the data.

    Fields at their defaults are left out, so that a new field leaves it unchanged.
    """
    facts = {
        path: value
        for path, value in flatten(config).items()
        if value != FIELDS[path].default
        and role(path) in _FINGERPRINTED_ROLES
        and not FIELDS[path].metadata["may_grow"]
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def warnings(config: RunConfig, total_steps: int) -> list[str]:
    """Returns a warning for each setting that is valid but probably unintended."""
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
            f"config.train.keep_at_steps={late} come after the run's last step "
            f"{total_steps} and are never saved"
        )
    train = config.train
    if (
        config.job == "pretrain"
        and train.early_stopping_patience
        and not train.eval_every_steps
    ):
        found.append(
            f"config.train.early_stopping_patience={train.early_stopping_patience} has "
            "no effect with config.train.eval_every_steps=0, as only the last step is "
            "evaluated"
        )
    return found
