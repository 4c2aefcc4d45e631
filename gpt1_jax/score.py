r"""Computes log-probabilities and the perplexity of the user's text.

    python -m gpt1_jax.score --checkpoint runs/pretrain \
        --input text.txt --output scores.jsonl

--output has a row for each line of --input, in order: text, tokens (ids) and logprobs
(in nats, for each token but the first). Lines longer than the model's context are
scored in windows that overlap by half. --input is plain text, or a table
(csv, tsv, JSON Lines or parquet, told by its suffix) of which --column is scored; each
may be compressed (.gz, .zst); - is standard input.
"""

import json
import math

from absl import flags

import gpt1_jax
from gpt1_jax import terminal
from gpt1_jax.cli import app, outputs
from gpt1_jax.data import formats, tables
from gpt1_jax.distributed import mesh, runtime
from gpt1_jax.evaluation import perplexity

# Texts that are scored and written before the next ones are tokenized.
_TEXTS_AT_ONCE = 20_000

_FLAGS = flags.FlagValues()
_CHECKPOINT = app.define_checkpoint(_FLAGS)
_INPUT = app.define_required(
    "input", "A text file or a table; - is standard input.", _FLAGS
)
_COLUMN = flags.DEFINE_string(
    "column",
    "",
    "The column of texts, if --input is a table; empty: `text`, or the only one.",
    flag_values=_FLAGS,
)
_OUTPUT = outputs.Output(_FLAGS, "JSON Lines file to write; - is standard output")
_COMPUTE_DTYPE = app.define_compute_dtype(_FLAGS)


def main() -> None:
    """Runs the command."""
    _OUTPUT.check([_INPUT.value])
    runtime.prepare()
    with formats.local_file(_INPUT.value) as path:
        texts = tables.read_texts(path, _COLUMN.value)
    model = gpt1_jax.load(_CHECKPOINT.value, _COMPUTE_DTYPE.value)
    subject = f"{_CHECKPOINT.value}: step {model.step:,}"
    terminal.say(mesh.describe(model.model.cfg, subject))
    terminal.say(f"{_INPUT.value}: {terminal.counted(len(texts), 'text')}")
    count, nats = 0, 0.0
    with (
        _OUTPUT.open() as file,
        terminal.progress("scoring", len(texts), unit="lines") as bar,
    ):
        for first in range(0, len(texts), _TEXTS_AT_ONCE):
            block = texts[first : first + _TEXTS_AT_ONCE]
            for row in model.score(block):
                file.write(f"{json.dumps(row)}\n")
                count += len(row["logprobs"])
                nats -= math.fsum(row["logprobs"])
            bar.advance(len(block))
    if not count:
        terminal.say(f"{_OUTPUT}: no line has two tokens, so there is no perplexity")
        return
    terminal.say(
        f"{_OUTPUT}: {count:,} predicted tokens, {nats / count:.4f} nats each, "
        f"perplexity {perplexity.perplexity(nats / count):.4f}"
    )


if __name__ == "__main__":
    app.run(main, _FLAGS)
