r"""Labels the user's own text with a fine-tuned model.

    python -m gpt1_jax.predict --checkpoint runs/finetune-sst2 \
        --input reviews.txt --output labels.jsonl

--input is a table (csv, tsv, JSON Lines or parquet, told by its suffix) with the task's
columns, as `sentence1`; for a task about single sentences also plain text, one a line.
It may be compressed (.gz, .zst); - is standard input. Each row of --output, in the
order of --input, has the columns of --input, `label` and `probabilities`; a message
names the class of each probability. --output is csv, tsv or JSON Lines by its suffix; a
csv or tsv has a column for each probability, as `probability_positive`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags

from gpt1_jax import terminal
from gpt1_jax.cli import app, outputs
from gpt1_jax.data import formats
from gpt1_jax.data.tasks import inputs
from gpt1_jax.distributed import mesh, runtime
from gpt1_jax.evaluation.predictions import Prediction
from gpt1_jax.inference import classifier

_FLAGS = flags.FlagValues()
_CHECKPOINT = app.define_checkpoint(_FLAGS, "A fine-tuned workdir")
_INPUT = app.define_required("input", "A file of texts; - is standard input.", _FLAGS)
_OUTPUT = outputs.Output(
    _FLAGS, "File to write: .jsonl, .csv or .tsv; - is standard output"
)


def main() -> None:
    """Runs the command."""
    _OUTPUT.check([_INPUT.value])
    kind = _OUTPUT.row_format()
    runtime.prepare()
    model = classifier.load(_CHECKPOINT.value)
    recipe = model.task_model
    subject = f"{_CHECKPOINT.value}: step {model.step:,}, {recipe.task.name}"
    terminal.say(mesh.describe(recipe.model.cfg, subject))
    with formats.local_file(_INPUT.value) as path:
        given = inputs.read_input(recipe.task, path)
    for note in given.notes:
        terminal.warn(note)
    found = model.predict(given.examples)
    answers = [_answer(recipe, row, kind) for row in found]
    _OUTPUT.write_rows(_with_input(given.rows, answers), kind)
    count = terminal.counted(len(found), "label")
    terminal.say(f"{_OUTPUT}: {count}; probabilities of {_order(recipe)}")


def _answer(
    recipe: classifier.TaskModel, found: Prediction, kind: str
) -> dict[str, Any]:
    """Returns label and probabilities: a list in JSON Lines, else a column for each."""
    if kind == formats.JSONL:
        probabilities = list(found.probabilities)
        return {"label": found.prediction, "probabilities": probabilities}
    names: Sequence[Any] = recipe.task.classes or recipe.task.answer_names
    if recipe.task.is_graded:
        grades = range(len(found.probabilities))
        names = [f"{recipe.task.score_of(grade):g}" for grade in grades]
    names = names or range(len(found.probabilities))
    pairs = zip(names, found.probabilities, strict=True)
    columns = {f"probability_{name}": value for name, value in pairs}
    return {"label": found.prediction} | columns


def _with_input(
    given: Sequence[Mapping[str, Any]], answers: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Returns each row of --input with its answer.

    A column of --input that has the name of an answer's gets `input_` before it.
    """
    taken = {name for answer in answers for name in answer}
    names: dict[str, str] = {}
    for column in dict.fromkeys(column for row in given for column in row):
        name = column
        while name in taken:
            name = f"input_{name}"
        taken.add(name)
        names[column] = name
    return [
        {name: row.get(column) for column, name in names.items()} | dict(answer)
        for row, answer in zip(given, answers, strict=True)
    ]


def _order(recipe: classifier.TaskModel) -> str:
    """Returns the names of a row's probabilities, in order."""
    if recipe.is_choice:
        if recipe.task.answer_names:
            return f"the choices {', '.join(recipe.task.answer_names)}"
        return "the choices in order; a label is the number of a choice, from 0"
    if recipe.target == "soft6":
        low, high = recipe.task.scores
        return f"the grades {low:g} to {high:g}; a label is the mean grade"
    return ", ".join(recipe.task.classes) or "no classes, as labels are grades"


if __name__ == "__main__":
    app.run(main, _FLAGS)
