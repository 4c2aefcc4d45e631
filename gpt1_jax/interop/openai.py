"""The format of the released weights: params_shapes.json and params_0.npy, ...

The .npy pieces, concatenated, hold all arrays in the order of the shapes: positions,
tokens, then twelve arrays per block, whose matrices have the shape (1, in, out).
Source: finetune-transformer-lm, model/ and train.py.
"""

import io
import itertools
import json
import math
import re
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

from gpt1_jax.config import ModelConfig
from gpt1_jax.errors import NotFound, UserError
from gpt1_jax.files import naming, parse_json, write_atomically
from gpt1_jax.interop import weights
from gpt1_jax.interop.weights import Weights

_SHAPES_FILE = "params_shapes.json"
_NUM_PIECES = 10
_PER_BLOCK = len(weights.BLOCK_NAMES)


def read(directory: Path) -> tuple[Weights, dict[str, Any]]:
    """Returns the weights in `directory`, and the layout of its files for `write`.

    Raises: UserError, NotFound: a file is missing, damaged or of the wrong size, or a
            shape does not fit.
    """
    shapes = _read_shapes(directory / _SHAPES_FILE)
    model = _model_of(shapes, directory)
    expected = _released_shapes(model, shapes[1][0])
    for number, (found, (path, wanted)) in enumerate(
        zip(shapes, expected.items(), strict=True)
    ):
        if tuple(found) != wanted:
            raise UserError(
                f"{directory / _SHAPES_FILE}: shape {number} is {found}; "
                f"{list(wanted)} is expected there, of {path}; fetch the file again"
            )
    pieces = _open_pieces(directory)
    total = sum(math.prod(shape) for shape in shapes)
    _check_sizes(directory, [len(piece) for piece in pieces], total)
    flat = np.concatenate(pieces)
    params, start = {}, 0
    for path, shape in expected.items():
        end = start + math.prod(shape)
        # Matrices have a leading 1: they were convolutions of width 1.
        squeezed = shape[1:] if len(shape) == 3 else shape
        params[path] = flat[start:end].reshape(squeezed)
        start = end
    weights.check_finite(params, str(directory))
    layout = {
        "sizes": [len(piece) for piece in pieces],
        # Kept as bytes, because versions of numpy write different headers.
        "headers": [_header(piece) for piece in pieces],
        "shapes": (directory / _SHAPES_FILE).read_text(encoding="utf-8"),
    }
    return Weights(params, model), layout


def write(
    found: Weights, directory: Path, layout: dict[str, Any] | None = None
) -> None:
    """Writes weights in the released format, without a task's head.

    Args:   layout: from `read`, to write the same bytes as were read. If None, or if
            the weights now have other shapes, ten pieces of about equal size.
    Raises: UserError: the heads are not 64 wide; the format assumes that they are.
    """
    if found.model.width != 64 * found.model.num_heads:
        raise UserError(
            f"the model has {found.model.num_heads} heads of width "
            f"{found.model.width // found.model.num_heads}; in the released format "
            "each is 64 wide; use --to huggingface, which stores the number of heads"
        )
    shapes = _released_shapes(found.model, found.num_rows)
    flat = np.concatenate(
        [np.asarray(found.params[path], np.float32).reshape(-1) for path in shapes]
    )
    text = json.dumps([list(shape) for shape in shapes.values()])
    if layout is None or json.loads(layout["shapes"]) != json.loads(text):
        sizes = _even_sizes(len(flat), _NUM_PIECES)
        layout = {"sizes": sizes, "headers": [""] * len(sizes), "shapes": text}
    directory.mkdir(parents=True, exist_ok=True)
    end = 0
    for number, (size, header) in enumerate(
        zip(layout["sizes"], layout["headers"], strict=True)
    ):
        start, end = end, end + size
        path = directory / f"params_{number}.npy"
        with naming(path), path.open("wb") as file:
            file.write(bytes.fromhex(header) or _new_header(size))
            file.write(flat[start:end].data)
    write_atomically(directory / _SHAPES_FILE, layout["shapes"])


def _new_header(size: int) -> bytes:
    """Returns the header that the installed numpy writes for `size` floats."""
    buffer = io.BytesIO()
    facts = {"descr": "<f4", "fortran_order": False, "shape": (size,)}
    np.lib.format.write_array_header_1_0(buffer, facts)
    return buffer.getvalue()


def _header(piece: np.memmap) -> str:
    """Returns the header of a piece in hexadecimal digits."""
    assert piece.filename
    with open(piece.filename, "rb") as file:
        return file.read(piece.offset).hex()


def _read_shapes(path: Path) -> list[list[int]]:
    if not path.is_file():
        raise NotFound(
            f"no {path.name} in {path.parent}; the directory of the released weights "
            "is expected; check --input"
        )
    try:
        shapes = parse_json(path.read_text(encoding="utf-8"))
        is_good = all(
            type(size) is int and 0 < size <= weights.LARGEST_SIZE
            for shape in shapes
            for size in shape
        )
    except (ValueError, TypeError):
        is_good, shapes = False, []
    count = len(shapes)
    if not is_good or count < 2 + _PER_BLOCK or (count - 2) % _PER_BLOCK:
        raise UserError(
            f"{path} is not a list of 2 + {_PER_BLOCK} n shapes for n blocks; the "
            "released file has 146; fetch it again"
        )
    return shapes


def _model_of(shapes: list[list[int]], directory: Path) -> ModelConfig:
    """Returns the model's sizes, read off the number of shapes and the first ones."""
    names = list(weights.BLOCK_NAMES)
    mlp = shapes[2 + names.index("mlp/in/bias")]
    positions, tokens = shapes[:2]
    if len(positions) != 2 or len(tokens) != 2 or len(mlp) != 1:
        raise UserError(
            f"{directory / _SHAPES_FILE}: positions {positions}, tokens {tokens}, MLP "
            f"bias {mlp}; two axes, two and one are expected; fetch the file again"
        )
    width = positions[1]
    return ModelConfig(
        num_layers=(len(shapes) - 2) // _PER_BLOCK,
        width=width,
        num_heads=weights.num_heads(width, str(directory)),
        mlp_width=mlp[0],
        context_length=positions[0],
    )


def _released_shapes(model: ModelConfig, num_rows: int) -> dict[str, tuple[int, ...]]:
    """Returns the shape of each parameter in the release, in the release's order."""
    shapes = weights.expected_shapes(model, num_rows)
    return {
        path: (1, *shapes[path]) if path.endswith("kernel") else shapes[path]
        for path in weights.paths(model.num_layers)
    }


def _open_pieces(directory: Path) -> list[np.memmap]:
    """Returns the pieces, memory-mapped, in the order of their numbers."""
    numbers = {
        int(match[1])
        for path in directory.iterdir()
        if (match := re.fullmatch(r"params_(\d+)\.npy", path.name))
    }
    count = max(numbers, default=0) + 1
    paths = [directory / f"params_{number}.npy" for number in range(count)]
    for number, path in enumerate(paths):
        if number not in numbers:
            raise NotFound(
                f"no {path.name} in {directory}; the pieces params_0.npy, "
                "params_1.npy, ... without a gap are expected; fetch it"
            )
    return [_open_piece(path) for path in paths]


def _open_piece(path: Path) -> np.memmap:
    try:
        piece = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError, SyntaxError, TokenError) as error:
        raise UserError(
            f"{path} can't be read: {error}; a .npy file of float32 is expected; fetch "
            "it again"
        ) from None
    if not isinstance(piece, np.memmap):
        raise UserError(
            f"{path} is an archive of arrays; a .npy file of one array is expected; "
            "fetch it again"
        )
    if piece.dtype != np.float32 or piece.ndim != 1:
        raise UserError(
            f"{path} holds {piece.dtype} of shape {list(piece.shape)}; float32 in one "
            "axis is expected; fetch it again"
        )
    return piece


def _check_sizes(directory: Path, sizes: list[int], total: int) -> None:
    """Raises UserError if pieces are too large, too small, or in another order."""
    if sum(sizes) != total:
        wanted = _even_sizes(total, max(len(sizes), _NUM_PIECES))
        pieces = itertools.zip_longest(sizes, wanted, fillvalue=0)
        wrong = [f"params_{n}.npy" for n, (a, b) in enumerate(pieces) if a != b]
        raise UserError(
            f"{directory}: params_0.npy to params_{len(sizes) - 1}.npy hold "
            f"{sum(sizes):,} floats; {_SHAPES_FILE} asks for {total:,}; fetch "
            f"{', '.join(wrong)} again"
        )
    even = _even_sizes(total, len(sizes))
    if sorted(sizes) == sorted(even) and sizes != even:
        n = next(n for n, size in enumerate(sizes) if size != even[n])
        raise UserError(
            f"{directory / f'params_{n}.npy'} has {sizes[n]:,} floats; "
            f"{even[n]:,} are expected, because larger pieces come first; the pieces "
            "are in another order; fetch them again"
        )


def _even_sizes(total: int, count: int) -> list[int]:
    """Splits `total` into `count` sizes that differ by at most 1, larger first."""
    return [total // count + (number < total % count) for number in range(count)]
