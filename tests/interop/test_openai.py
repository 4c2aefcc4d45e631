"""The released format: written and read back to the byte; defects are refused."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from gpt1_jax.config import ModelConfig
from gpt1_jax.interop import openai, weights
from gpt1_jax.models.transformer import Transformer

MODEL = ModelConfig(num_layers=2, width=64, num_heads=1, mlp_width=24, context_length=7)
NUM_ROWS = 53


@pytest.fixture(scope="module")
def found() -> weights.Weights:
    rng = np.random.default_rng(0)
    shapes = weights.expected_shapes(MODEL, NUM_ROWS)
    params = {
        path: rng.standard_normal(shape, dtype=np.float32)
        for path, shape in shapes.items()
    }
    return weights.Weights(params, MODEL)


@pytest.fixture
def released(found, tmp_path):
    openai.write(found, tmp_path / "released")
    return tmp_path / "released"


def contents(directory) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_reading_returns_what_was_written(released, found):
    again, layout = openai.read(released)
    assert again.model == MODEL
    assert again.num_rows == NUM_ROWS
    assert set(again.params) == set(found.params)
    for path, value in found.params.items():
        np.testing.assert_array_equal(again.params[path], value)
    sizes = layout["sizes"]
    assert len(sizes) == 10
    assert max(sizes) - min(sizes) == 1


def test_order_and_shapes_are_the_released_ones(released, found):
    shapes = json.loads((released / "params_shapes.json").read_text())
    assert shapes[:5] == [[7, 64], [53, 64], [1, 64, 192], [192], [1, 64, 64]]
    assert shapes[2:14] == shapes[14:]
    flat = np.concatenate([np.load(released / f"params_{n}.npy") for n in range(10)])
    np.testing.assert_array_equal(flat[: 7 * 64], found.params["embed/position"].flat)
    np.testing.assert_array_equal(flat[-64:], found.params["block_01/norm_2/bias"])
    np.testing.assert_array_equal(
        flat[-192:-128], found.params["block_01/mlp/out/bias"]
    )


@pytest.mark.parametrize("count", [1, 3])
def test_pieces_keep_their_sizes(released, found, tmp_path, count):
    flat = np.concatenate([np.load(released / f"params_{n}.npy") for n in range(10)])
    other = tmp_path / "other"
    other.mkdir()
    (other / "params_shapes.json").write_bytes(
        (released / "params_shapes.json").read_bytes()
    )
    for number, piece in enumerate(np.split(flat, [11, 500][: count - 1])):
        np.save(other / f"params_{number}.npy", piece)
    again, layout = openai.read(other)
    assert len(layout["sizes"]) == count
    openai.write(again, tmp_path / "again", layout)
    assert contents(tmp_path / "again") == contents(other)


def test_headers_of_older_numpy_are_kept(released, tmp_path):
    old = b"\x93NUMPY\x01\x00F\x00{'descr': '<f4', 'fortran_order': False, "
    old += b"'shape': (%d,), }"
    for path in released.glob("*.npy"):
        floats = np.load(path)
        header = old % len(floats)
        path.write_bytes(header.ljust(79) + b"\n" + floats.tobytes())
    shapes = json.loads((released / "params_shapes.json").read_text())
    (released / "params_shapes.json").write_text(json.dumps(shapes, indent=1))
    again, layout = openai.read(released)
    openai.write(again, tmp_path / "again", layout)
    assert contents(tmp_path / "again") == contents(released)


def test_other_shapes_get_a_new_layout(released, found, tmp_path):
    _, layout = openai.read(released)
    table = found.params["embed/token"][:-1]
    fewer = dataclasses.replace(found, params={**found.params, "embed/token": table})
    openai.write(fewer, tmp_path / "fewer", layout)
    again, _ = openai.read(tmp_path / "fewer")
    assert again.num_rows == NUM_ROWS - 1


def test_released_sizes_match_the_paper():
    shapes = weights.expected_shapes(ModelConfig(), 40478)
    assert sum(np.prod(shape) for shape in shapes.values()) == 116_534_784
    assert len(weights.paths(12)) == 146 == len(shapes)


def test_the_model_accepts_the_parameters(released, found):
    again, _ = openai.read(released)
    model = Transformer(
        ModelConfig(**{**MODEL.__dict__, "compute_dtype": "float32"}), NUM_ROWS
    )
    logits = model.apply({"params": again.tree}, np.ones((1, 3), np.int32))
    assert logits.shape == (1, 3, NUM_ROWS)
    tree = jax.tree.structure(again.tree)
    assert tree == jax.tree.structure(
        jax.eval_shape(lambda: model.init(jax.random.key(0), np.ones((1, 1), int)))[
            "params"
        ]
    )


def spoil_shapes(change):
    def spoil(directory):
        path = directory / "params_shapes.json"
        shapes = json.loads(path.read_text())
        path.write_text(json.dumps(change(shapes)))

    return spoil


def truncate(directory):
    path = directory / "params_4.npy"
    path.write_bytes(path.read_bytes()[:-100])


def shorten(directory):
    path = directory / "params_9.npy"
    np.save(path, np.load(path)[:-1])


def swap(directory):
    first, last = directory / "params_0.npy", directory / "params_9.npy"
    first.rename(directory / "x")
    last.rename(first)
    (directory / "x").rename(last)


def replace_piece(value):
    def spoil(directory):
        np.save(directory / "params_2.npy", value, allow_pickle=True)

    return spoil


def archive(directory):
    with (directory / "params_2.npy").open("wb") as file:
        np.savez(file, np.zeros(3, np.float32))


def put_nan(directory):
    piece = np.load(directory / "params_0.npy")
    piece[5] = np.nan
    np.save(directory / "params_0.npy", piece)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: (d / "params_shapes.json").unlink(), "no params_shapes.json in"),
        (lambda d: (d / "params_3.npy").unlink(), "no params_3.npy in"),
        (
            lambda d: (d / "params_shapes.json").write_text("{"),
            "is not a list of 2 [+] 12",
        ),
        (spoil_shapes(lambda s: s[:-1]), "is not a list of 2 [+] 12 n shapes"),
        (spoil_shapes(lambda s: [*s[:2], [0], *s[3:]]), "is not a list of 2 [+] 12"),
        (
            spoil_shapes(lambda s: [*s[:2], s[4], s[3], s[2], *s[5:]]),
            r"shape 2 is \[1, 64, 64\]; \[1, 64, 192\] is expected there, of "
            "block_00/attention/qkv/kernel",
        ),
        (spoil_shapes(lambda s: [[7, 60], *s[1:]]), "width 60 is not a multiple of 64"),
        (truncate, r"params_4.npy can't be read: .*; fetch it again"),
        (shorten, r"hold 43,951 floats; .*asks for 43,952; fetch params_9.npy again"),
        (
            lambda d: (d / "params_9.npy").unlink(),
            r"params_8.npy hold .* params_9.npy a",
        ),
        (swap, r"params_0.npy has .* floats; .* the pieces are in another order"),
        (replace_piece(np.zeros(5)), "params_2.npy holds float64 of shape"),
        (replace_piece(np.array([object()])), "params_2.npy can't be read"),
        (archive, r"params_2.npy is an archive of arrays; a .npy file of one"),
        (put_nan, "embed/position has infinite or NaN values; finite weights"),
    ],
)
def test_defects_are_refused_by_name(released, spoil, message):
    spoil(released)
    with pytest.raises(ValueError, match=message):
        openai.read(released)


def test_heads_of_another_width_are_refused(found, tmp_path):
    other = dataclasses.replace(found, model=dataclasses.replace(MODEL, num_heads=2))
    with pytest.raises(ValueError, match=r"2 heads of width 32; .* --to huggingface"):
        openai.write(other, tmp_path)
