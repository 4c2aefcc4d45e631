"""The rules about which configs are valid and which may resume the same run."""

import math

import pytest

from gpt1_jax import config as config_lib
from gpt1_jax.config import RunConfig
from tests.configs import changed

DEFAULTS = config_lib.flatten(RunConfig())


def test_defaults_are_valid():
    config_lib.validate(RunConfig())


@pytest.mark.parametrize(
    ("path", "allowed", "refused"),
    [
        ("seed", (0, 2**32 - 1), (-1, 2**32)),
        ("model.num_layers", (1,), (0, -1)),
        ("model.width", (12,), (0, -12)),
        ("model.num_heads", (1,), (0,)),
        ("model.mlp_width", (1,), (0,)),
        ("model.context_length", (2,), (1, 0)),
        ("model.embedding_dropout", (0.0, 0.99), (-0.1, 1.0)),
        ("model.residual_dropout", (0.0, 0.99), (-0.1, 1.0)),
        ("model.attention_dropout", (0.0, 0.99), (-0.1, 1.0)),
        ("data.holdout_fraction", (0.0, 0.5), (-0.1, 0.6)),
        ("data.vocab_size", (300,), (299, 2**31)),
        ("data.storyworld_seed", (0,), (-1,)),
        ("data.storyworld_megabytes", (0.01,), (0.0, -1.0)),
        ("train.batch_size", (1,), (0, -64)),
        ("train.eval_batch_size", (1,), (0,)),
        ("train.epochs", (1,), (0,)),
        ("train.max_steps", (0, 1), (-1,)),
        ("train.accumulation_steps", (1, 64), (0, -1)),
        ("train.log_every_steps", (1,), (0,)),
        ("train.eval_every_steps", (0, 1), (-1,)),
        ("train.checkpoint_every_steps", (0, 1), (-1,)),
        ("train.keep_checkpoints", (2,), (1, 0)),
        ("train.keep_at_steps", ((), (1,)), ((0,), (5, -1))),
        ("train.early_stopping_patience", (0, 1), (-1,)),
        ("train.profile_steps", (0, 1, 1000), (-1, 1001)),
        ("optim.peak_learning_rate", (1e-9,), (0.0, -1e-3)),
        ("optim.warmup_steps", (0, 1), (-1,)),
        ("optim.weight_decay", (0.0,), (-0.01, 1.1)),
        ("optim.clip_norm", (1e-3,), (0.0, -1.0)),
        ("optim.b1", (0.0, 0.99), (-0.1, 1.0)),
        ("optim.b2", (0.0, 0.999), (-0.1, 1.0)),
        ("optim.eps", (1e-12,), (0.0, -1e-8)),
    ],
)
def test_numbers_outside_their_range_are_refused(path, allowed, refused):
    for value in allowed:
        config_lib.validate(changed({path: value}))
    for value in refused:
        with pytest.raises(ValueError, match=rf"^config\.{path}=.*; .*; .*"):
            config_lib.validate(changed({path: value}))


def test_warmup_fraction_is_between_0_and_1():
    base = changed({"optim.warmup_steps": 0})
    for value in (0.0, 0.002, 1.0):
        config_lib.validate(changed({"optim.warmup_fraction": value}, base))
    with pytest.raises(ValueError, match=r"warmup_fraction=1.5; from 0.0 to 1.0;"):
        config_lib.validate(changed({"optim.warmup_fraction": 1.5}, base))


@pytest.mark.parametrize(
    "path", [path for path, value in DEFAULTS.items() if isinstance(value, float)]
)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_floats_that_are_not_finite_are_refused(path, value):
    with pytest.raises(ValueError, match=rf"config\.{path}=-?(nan|inf); from"):
        config_lib.validate(changed({path: value}))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("job", "pretrian", r"\|evaluate\|zeroshot; did you mean pretrain\?"),
        ("job", "zzz", r"job='zzz'; pretrain\|.*\|zeroshot; use one of these"),
        ("model.compute_dtype", "float16", r"\|float32\|bfloat16\|float64; did you"),
        ("optim.name", "adam", r"'adam'; openai_adam\|adamw; did you mean adamw\?"),
        ("optim.schedule", "cosin", r"cosine\|linear\|constant; did you mean cosine\?"),
    ],
)
def test_unknown_choice_is_refused_with_a_list(path, value, message):
    with pytest.raises(ValueError, match=message):
        config_lib.validate(changed({path: value}))


def test_context_too_long_for_32_bit_attention_masks_is_refused():
    long = {"model.context_length": 18_919}
    message = r"context_length=18919; at most 18918 with num_heads=12"
    with pytest.raises(ValueError, match=message):
        config_lib.validate(changed(long))
    config_lib.validate(changed(long | {"model.attention_dropout": 0.0}))
    config_lib.validate(changed({"model.context_length": 18_918}))
    config_lib.validate(changed(long | {"model.backbone": "lstm"}))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("model.num_heads", 5, "must divide config.model.width=768; try 4 or 6"),
        ("train.accumulation_steps", 3, "must divide config.train.batch_size=64;"),
        ("optim.warmup_fraction", 0.002, "only one may be set"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(path, value, message):
    with pytest.raises(ValueError, match=rf"config\.{path}={value}; {message}"):
        config_lib.validate(changed({path: value}))


def test_windows_of_different_lengths_are_not_split_into_microbatches():
    fields = {"data.windows": "document", "train.accumulation_steps": 2}
    message = r"accumulation_steps=2; 1 is expected with config.data.windows=document"
    with pytest.raises(ValueError, match=message):
        config_lib.validate(changed(fields))
    config_lib.validate(changed({"data.windows": "document"}))


def test_execution_and_logging_may_change_on_resume():
    free = changed(
        {
            "model.attention": "xla",
            "data.cache_dir": "/elsewhere",
            "train.accumulation_steps": 2,
            "train.eval_batch_size": 7,
            "train.remat": True,
            "mesh.fsdp": True,
            "mesh.distributed": "off",
            "mesh.coordinator_address": "here:1",
            "mesh.num_processes": 2,
            "mesh.process_id": 1,
            "train.log_every_steps": 7,
            "train.eval_every_steps": 7,
            "train.checkpoint_every_steps": 7,
            "train.keep_checkpoints": 3,
            "train.keep_at_steps": (7,),
            "train.profile_steps": 7,
        }
    )
    assert config_lib.conflicts(RunConfig(), free) == []
    assert config_lib.fingerprint(RunConfig()) == config_lib.fingerprint(free)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("seed", 1),
        ("model.width", 24),
        ("data.corpus", "other"),
        ("data.vocab_size", 999),
        ("train.batch_size", 32),
        ("train.epochs", 99),
        ("optim.eps", 1e-6),
        ("optim.schedule", "linear"),
    ],
)
def test_other_fields_may_not_change_on_resume(path, value):
    found = config_lib.conflicts(RunConfig(), changed({path: value}))
    assert found == [f"{path}: {DEFAULTS[path]!r} -> {value!r}"]


@pytest.mark.parametrize(
    ("schedule", "fraction", "old", "new", "may_resume"),
    [
        ("constant", 0.0, 100, 200, True),
        ("constant", 0.0, 100, 0, False),
        ("constant", 0.0, 200, 100, False),
        ("constant", 0.0, 0, 100, False),
        ("constant", 0.01, 100, 200, False),
        ("cosine", 0.0, 100, 200, False),
        ("linear", 0.0, 100, 200, False),
    ],
)
def test_max_steps_may_grow_only_if_the_schedule_does_not_depend_on_it(
    schedule, fraction, old, new, may_resume
):
    base = changed(
        {
            "optim.schedule": schedule,
            "optim.warmup_steps": 0,
            "optim.warmup_fraction": fraction,
        }
    )
    found = config_lib.conflicts(
        changed({"train.max_steps": old}, base), changed({"train.max_steps": new}, base)
    )
    assert found == ([] if may_resume else [f"train.max_steps: {old} -> {new}"])


def test_fingerprint_covers_the_fields_that_a_checkpoint_depends_on():
    default = config_lib.fingerprint(RunConfig())
    assert config_lib.fingerprint(changed({"train.log_every_steps": 7})) == default
    for path, value in (
        ("seed", 1),
        ("model.width", 24),
        ("optim.eps", 1e-6),
        ("train.batch_size", 32),
    ):
        assert config_lib.fingerprint(changed({path: value})) != default


def test_warm_up_that_never_ends_gives_a_warning():
    config = RunConfig()
    assert config_lib.warnings(config, 2001) == []
    (warning,) = config_lib.warnings(config, 2000)
    assert "warmup_steps=2000" in warning
    assert "no shorter than the run of 2000 steps" in warning


def test_steps_after_the_end_give_a_warning():
    config = changed({"train.keep_at_steps": (5, 4000, 4001)})
    (warning,) = config_lib.warnings(config, 4000)
    assert "keep_at_steps=[4001]" in warning


def test_patience_without_evaluations_is_warned_of():
    fields = {"train.early_stopping_patience": 2, "optim.warmup_steps": 0}
    config = changed(fields)
    assert config_lib.warnings(config, 4000) == []
    (warning,) = config_lib.warnings(
        changed({"train.eval_every_steps": 0}, config), 4000
    )
    assert "early_stopping_patience=2 has no effect with" in warning
