r"""Labels the user's own text with a fine-tuned model.

    python -m gpt1_jax.predict --checkpoint runs/finetune-sst2 \
        --input reviews.txt --output labels.jsonl

--input is a tsv or csv file whose first line names the task's columns, for example
`sentence1`. For a task on single sentences it can also have one text per line. --output
has a row with `label` and `probabilities` for each text, in the order of --input.
"""

import json
from pathlib import Path

from absl import flags

from gpt1_jax import files, terminal
from gpt1_jax.cli import app
from gpt1_jax.data.tasks import loading
from gpt1_jax.distributed import mesh, runtime
from gpt1_jax.inference import classifier

_FLAGS = flags.FlagValues()
_CHECKPOINT = app.define_checkpoint(_FLAGS, "A fine-tuned workdir")
_INPUT = app.define_required("input", "A file of texts.", _FLAGS)
_OUTPUT = app.define_required("output", "A jsonl file to write.", _FLAGS)


def main() -> None:
    """Runs the command."""
    runtime.prepare()
    model = classifier.load(_CHECKPOINT.value)
    recipe = model.task_model
    subject = f"{_CHECKPOINT.value}: step {model.step:,}, {recipe.task.name}"
    terminal.say(mesh.describe(recipe.model.cfg, subject))
    given = loading.read_input(recipe.task, Path(_INPUT.value).expanduser())
    for note in given.notes:
        terminal.warn(note)
    rows = [
        {"label": row.prediction, "probabilities": list(row.probabilities)}
        for row in model.predict(given.examples)
    ]
    text = "".join(f"{json.dumps(row)}\n" for row in rows)
    output = Path(_OUTPUT.value).expanduser()
    files.write_atomically(output, text)
    terminal.say(f"{output}: {len(rows):,} labels; probabilities of {_order(recipe)}")


def _order(recipe: classifier.TaskModel) -> str:
    """Returns the names of a row's probabilities, in order."""
    if recipe.is_choice:
        return "the choices in order; a label is the number of a choice, from 0"
    if recipe.target == "soft6":
        return "the grades 0 to 5; a label is the mean grade"
    return ", ".join(recipe.task.classes) or "no classes, as labels are grades"


if __name__ == "__main__":
    app.run(main, _FLAGS)
