r"""Labels the user's own text with a fine-tuned model.

    python -m gpt1_jax.predict --checkpoint runs/finetune-sst2 \
        --input reviews.txt --output labels.jsonl

--input is a table (csv, tsv, JSON Lines or parquet, told by its suffix) with the task's
columns, as `sentence1`; for a task about single sentences also plain text, one a line.
It may be compressed (.gz, .zst); - is standard input. Each row of --output, in the
order of --input, has `label` and `probabilities`; a message names the class of each
probability.
"""

import json

from absl import flags

from gpt1_jax import terminal
from gpt1_jax.cli import app, outputs
from gpt1_jax.data import formats
from gpt1_jax.data.tasks import inputs
from gpt1_jax.distributed import mesh, runtime
from gpt1_jax.inference import classifier

_FLAGS = flags.FlagValues()
_CHECKPOINT = app.define_checkpoint(_FLAGS, "A fine-tuned workdir")
_INPUT = app.define_required("input", "A file of texts; - is standard input.", _FLAGS)
_OUTPUT = outputs.Output(_FLAGS, "JSON Lines file to write; - is standard output")


def main() -> None:
    """Runs the command."""
    _OUTPUT.check([_INPUT.value])
    runtime.prepare()
    model = classifier.load(_CHECKPOINT.value)
    recipe = model.task_model
    subject = f"{_CHECKPOINT.value}: step {model.step:,}, {recipe.task.name}"
    terminal.say(mesh.describe(recipe.model.cfg, subject))
    with formats.local_file(_INPUT.value) as path:
        given = inputs.read_input(recipe.task, path)
    for note in given.notes:
        terminal.warn(note)
    rows = model.predict(given.examples)
    with _OUTPUT.open() as file:
        for row in rows:
            record = {"label": row.prediction, "probabilities": list(row.probabilities)}
            file.write(f"{json.dumps(record)}\n")
    count = terminal.counted(len(rows), "label")
    terminal.say(f"{_OUTPUT}: {count}; probabilities of {_order(recipe)}")


def _order(recipe: classifier.TaskModel) -> str:
    """Returns the names of a row's probabilities, in order."""
    if recipe.is_choice:
        return "the choices in order; a label is the number of a choice, from 0"
    if recipe.target == "soft6":
        return "the grades 0 to 5; a label is the mean grade"
    return ", ".join(recipe.task.classes) or "no classes, as labels are grades"


if __name__ == "__main__":
    app.run(main, _FLAGS)
