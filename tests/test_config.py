import dataclasses
import json

import pytest

from gpt1_jax import config as config_lib
from gpt1_jax.config import RunConfig
from tests.configs import changed


def mapping(changes: dict) -> dict:
    return json.loads(json.dumps(dataclasses.asdict(changed(changes))))


def test_config_is_unchanged_by_conversion_to_config_dict_and_json():
    config = changed(
        {
            "seed": 7,
            "model.width": 36,
            "data.corpus": "books/*.txt",
            "train.keep_at_steps": (30, 50),
            "optim.eps": 1e-6,
            "train.remat": True,
        }
    )
    from_dict = config_lib.from_mapping(config_lib.to_config_dict(config))
    from_json = config_lib.from_mapping(
        json.loads(json.dumps(dataclasses.asdict(config)))
    )
    assert from_dict == from_json == config != RunConfig()
    assert isinstance(from_json.train.keep_at_steps, tuple)


def test_config_dict_is_locked_against_new_fields():
    config_dict = config_lib.to_config_dict(RunConfig())
    config_dict.model.width = 24
    with pytest.raises(AttributeError, match="Did you mean"):
        config_dict.model.widht = 24
    assert config_lib.from_mapping(config_dict).model.width == 24


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("widht", r"unknown field config.model.widht; did you mean width\?"),
        ("qqq", r"unknown field config.model.qqq; backbone, num_layers, width"),
    ],
)
def test_unknown_field_is_refused_with_a_suggestion_or_a_list(name, message):
    fields = mapping({})
    fields["model"][name] = 1
    with pytest.raises(ValueError, match=message):
        config_lib.from_mapping(fields)


def test_missing_field_is_named():
    fields = mapping({})
    del fields["optim"]["eps"]
    with pytest.raises(ValueError, match=r"config.optim.eps is missing"):
        config_lib.from_mapping(fields)


@pytest.mark.parametrize("value", [3, None, [1], "x"])
def test_value_instead_of_a_group_is_refused(value):
    with pytest.raises(ValueError, match=r"config.model=.*; must be a group"):
        config_lib.from_mapping(mapping({}) | {"model": value})
    with pytest.raises(ValueError, match=r"config=.*; must be a group"):
        config_lib.from_mapping(value)


@pytest.mark.parametrize(
    ("path", "value", "kind"),
    [
        ("model.width", 12.0, "int"),
        ("model.width", "12", "int"),
        ("model.width", True, "int"),
        ("model.width", None, "int"),
        ("train.remat", 1, "bool"),
        ("optim.eps", "1e-8", "float"),
        ("optim.eps", True, "float"),
        ("data.corpus", 5, "str"),
    ],
)
def test_wrong_type_is_refused(path, value, kind):
    message = rf"config.{path}={value!r}; must be of type {kind}"
    with pytest.raises(ValueError, match=message):
        config_lib.from_mapping(mapping({path: value}))


@pytest.mark.parametrize("value", [[1.0], ["5"], [True], 5, "5"])
def test_steps_that_are_not_integers_are_refused(value):
    fields = mapping({})
    fields["train"]["keep_at_steps"] = value
    with pytest.raises(ValueError, match=r"keep_at_steps=.*; must be integers; write"):
        config_lib.from_mapping(fields)


def test_integer_is_converted_to_a_float():
    config = config_lib.from_mapping(mapping({"optim.clip_norm": 2}))
    assert config.optim.clip_norm == 2.0
    assert isinstance(config.optim.clip_norm, float)


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        ("seed", "12", 12),
        ("optim.eps", "1e-6", 1e-6),
        ("optim.clip_norm", "2", 2.0),
        ("train.remat", "True", True),
        ("train.remat", "false", False),
        ("train.keep_at_steps", "5", (5,)),
        ("train.keep_at_steps", "5,7", (5, 7)),
        ("train.keep_at_steps", "(5, 7)", (5, 7)),
        ("train.keep_at_steps", "(5,)", (5,)),
        ("train.keep_at_steps", "5+7", (5, 7)),
        ("train.keep_at_steps", "()", ()),
        ("data.corpus", "a=b,c", "a=b,c"),
    ],
)
def test_command_line_text_is_parsed_by_the_type_of_the_field(path, text, value):
    found = config_lib.parse(path, text)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        ("model.width", "12.0", "model.width='12.0'; an integer is expected; write"),
        ("model.width", "", "model.width=''; an integer is expected; write 1000"),
        ("optim.eps", "small", "a number is expected; write 0.5 or 1e-3"),
        ("train.remat", "maybe", "a boolean is expected; write True or False"),
        ("train.keep_at_steps", "5;7", "integers are expected; write 1000,10000"),
        ("train.max_step", "5", r"did you mean train.max_steps\?"),
        ("modle.width", "5", r"did you mean model.width\?"),
        ("batch_size", "5", r"did you mean train.batch_size\?"),
        ("train", "5", "a group of fields; one field is expected, as config.train."),
        ("qqq.zzz", "5", "unknown config field qqq.zzz; add --show_config"),
    ],
)
def test_command_line_text_of_another_type_is_refused(path, text, message):
    with pytest.raises(ValueError, match=message):
        config_lib.parse(path, text)


def test_only_fields_of_the_given_roles_are_inherited():
    source = changed({"model.width": 24, "model.residual_dropout": 0.3, "seed": 7})
    found = config_lib.inherit(RunConfig(), source, (config_lib.Role.ARCHITECTURE,))
    assert found == changed({"model.width": 24})


@pytest.mark.parametrize("path", config_lib.FIELDS)
def test_every_field_has_a_meaning_and_a_role(path):
    metadata = config_lib.FIELDS[path].metadata
    assert len(metadata["meaning"]) >= 10
    assert isinstance(metadata["role"], config_lib.Role)


def test_experiment_words_are_a_set():
    known = ("small", "paper", "rte")
    assert config_lib.experiment_words("", known) == set()
    assert config_lib.experiment_words("rte, paper,", known) == {"rte", "paper"}


def test_unknown_experiment_word_is_refused_with_a_list():
    with pytest.raises(ValueError, match=r"word 'papr' .*; known words: small, paper;"):
        config_lib.experiment_words("small,papr", ("small", "paper"))
