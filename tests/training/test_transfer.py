"""Copying parameters from a trained model by name."""

import numpy as np
import pytest

from gpt1_jax.training import transfer

LAYERS = ("block_00", "block_01", "block_02")


def full(shape, value: float = 0.0) -> np.ndarray:
    return np.full(shape, value, np.float32)


def model(value: float, *, rows: int, layers=LAYERS, width: int = 3) -> dict:
    """Returns parameters that all equal `value`."""
    params = {
        "embed": {
            "token": full((rows, width), value),
            "position": full((5, width), value),
        }
    }
    for name in layers:
        params[name] = {"attention": {"qkv": {"bias": full(7, value)}}}
    return params


def fresh() -> dict:
    return model(0.0, rows=11) | {"head": {"bias": full(2)}}


def values(params: dict) -> dict:
    """Returns the numbers of each block, each table and the head."""
    found = {name: params[name]["attention"]["qkv"]["bias"] for name in LAYERS}
    return found | params["embed"] | {"head": params["head"]["bias"]}


@pytest.mark.parametrize(
    ("num_layers", "copied"),
    [
        (-1, {"token", "position", *LAYERS}),
        (0, {"token", "position"}),
        (1, {"token", "position", "block_00"}),
        (3, {"token", "position", *LAYERS}),
        (-2, set()),
    ],
)
def test_embeddings_and_the_first_layers_are_copied(num_layers, copied):
    trained = model(1.0, rows=8) | {"head": {"bias": full(2, 1.0)}}
    moved = transfer.transfer(fresh(), trained, num_layers)
    for name, found in values(moved.params).items():
        expected = np.full(found.shape, 1.0 if name in copied else 0.0)
        if name == "token":
            expected[8:] = 0.0  # the trained model has no special tokens
        np.testing.assert_array_equal(found, expected, err_msg=name)


def test_special_tokens_of_a_fine_tuned_model_are_copied_but_not_its_head():
    trained = model(1.0, rows=11) | {"head": {"bias": full(3, 1.0)}}
    moved = transfer.transfer(fresh(), trained, -1)
    assert (np.asarray(moved.params["embed"]["token"]) == 1.0).all()
    assert (moved.params["head"]["bias"] == 0.0).all()
    assert moved.fresh == ("head/bias",)
    assert moved.unused == ("head/bias",)


def test_description_names_copied_fresh_and_unused_parameters():
    moved = transfer.transfer(fresh(), model(1.0, rows=8), 1)
    assert transfer.describe(moved) == (
        "taken: block_00, embed; fresh: block_01, block_02, head, 3 rows of "
        "embed/token; unused: block_01, block_02"
    )


def test_every_mismatch_is_listed():
    trained = model(1.0, rows=12, layers=LAYERS[:2], width=3)
    trained["embed"]["position"] = full((4, 3))
    with pytest.raises(ValueError, match="does not fit") as caught:
        transfer.transfer(fresh(), trained, -1)
    for expected in (
        "embed/token: (12, 3) -> (11, 3)",
        "embed/position: (4, 3) -> (5, 3)",
        "block_02/attention/qkv/bias: missing -> (7,)",
    ):
        assert expected in str(caught.value)
    assert "block_00" not in str(caught.value)
