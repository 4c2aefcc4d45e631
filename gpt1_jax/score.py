r"""Computes log-probabilities and the perplexity of the user's text.

    python -m gpt1_jax.score --checkpoint runs/pretrain \
        --input text.txt --output scores.jsonl

--output has a row for each line of --input, in order: text, tokens (ids) and logprobs
(in nats, for each token but the first). Lines longer than the model's context are
scored in windows that overlap by half.
"""

import json
import math
from pathlib import Path

from absl import flags

import gpt1_jax
from gpt1_jax import files, terminal
from gpt1_jax.cli import app
from gpt1_jax.distributed import mesh, runtime
from gpt1_jax.errors import NotFound, UserError
from gpt1_jax.evaluation import perplexity

# Lines that are scored and written before the next ones are tokenized.
_LINES_AT_ONCE = 20_000

_FLAGS = flags.FlagValues()
_CHECKPOINT = app.define_checkpoint(_FLAGS)
_INPUT = app.define_required("input", "A UTF-8 text file.", _FLAGS)
_OUTPUT = app.define_required("output", "A jsonl file to write.", _FLAGS)
_COMPUTE_DTYPE = app.define_compute_dtype(_FLAGS)


def main() -> None:
    """Runs the command."""
    runtime.prepare()
    texts = _read(Path(_INPUT.value).expanduser())
    model = gpt1_jax.load(_CHECKPOINT.value, _COMPUTE_DTYPE.value)
    subject = f"{_CHECKPOINT.value}: step {model.step:,}"
    terminal.say(mesh.describe(model.model.cfg, subject))
    terminal.say(f"{_INPUT.value}: {len(texts):,} lines")
    output = Path(_OUTPUT.value).expanduser()
    count, nats = 0, 0.0
    with (
        files.atomic_file(output) as file,
        terminal.progress("scoring", len(texts), unit="lines") as bar,
    ):
        for first in range(0, len(texts), _LINES_AT_ONCE):
            block = texts[first : first + _LINES_AT_ONCE]
            for row in model.score(block):
                file.write(f"{json.dumps(row)}\n")
                count += len(row["logprobs"])
                nats -= math.fsum(row["logprobs"])
            bar.advance(len(block))
    if not count:
        terminal.say(f"{output}: no line has two tokens, so there is no perplexity")
        return
    terminal.say(
        f"{output}: {count:,} predicted tokens, {nats / count:.4f} nats each, "
        f"perplexity {perplexity.perplexity(nats / count):.4f}"
    )


def _read(path: Path) -> list[str]:
    r"""Returns the lines of a file, split at `\n` only; a final one adds no line."""
    if not path.is_file():
        raise NotFound(f"no file {path}; a text file is expected; check --input")
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: byte {error.start} (0x{error.object[error.start]:02x}) is not "
            "UTF-8; convert it with `iconv -t UTF-8`"
        ) from None
    return text.removesuffix("\n").split("\n") if text else []


if __name__ == "__main__":
    app.run(main, _FLAGS)
