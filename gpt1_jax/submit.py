r"""Makes a GLUE submission, a validated zip, from finished fine-tuning runs.

    python -m gpt1_jax.submit runs/finetune-cola runs/finetune-mnli ... \
        --output submission.zip

Needs one workdir for each task: cola, sst2, mrpc, stsb, mnli (which also predicts AX),
qnli, qqp, rte and wnli. Upload the zip at gluebenchmark.com/submit.
"""

from pathlib import Path

from absl import flags

from gpt1_jax import files, terminal
from gpt1_jax.cli import app, outputs
from gpt1_jax.config import RunConfig
from gpt1_jax.data.tasks import registry, task_data
from gpt1_jax.errors import UserError
from gpt1_jax.evaluation import predictions
from gpt1_jax.interop import glue_submission
from gpt1_jax.interop.glue_submission import GlueFile
from gpt1_jax.workdirs import workdir as workdir_lib

_FLAGS = flags.FlagValues()
_OUTPUT = outputs.Output(_FLAGS, "Zip to write")
_ALLOW_PARTIAL = flags.DEFINE_bool(
    "allow_partial",
    False,
    "Write the zip even if tasks are missing; the server refuses it.",
    flag_values=_FLAGS,
)


def main(workdirs: list[str]) -> None:
    """Runs the command."""
    _OUTPUT.check()
    terminal.say(f"reading {', '.join(workdirs)}")
    runs: dict[str, tuple[Path, RunConfig]] = {}
    for workdir in (files.expand(given) for given in workdirs):
        config = _read_finished(workdir)
        if config.task.name in runs:
            first, _ = runs[config.task.name]
            raise UserError(
                f"{first} and {workdir} are both runs of {config.task.name}; one run "
                "for each task is allowed; drop one"
            )
        runs[config.task.name] = workdir, config
    answers, expected_rows = {}, {}
    for name, file in glue_submission.FILES.items():
        if file.predicted_by in runs:
            run = runs[file.predicted_by]
            path = predictions.path_of(run[0], file.predictions_split)
            if _ALLOW_PARTIAL.value and not path.is_file():
                continue
            answers[name], expected_rows[name] = _read(file, *run)
    if not answers:
        raise UserError(
            f"{', '.join(workdirs)}: there are no predictions/ for a test set of GLUE; "
            "at least one is expected; run the command of the run again, which "
            "predicts what is missing"
        )
    output = _OUTPUT.path
    glue_submission.write(
        answers, expected_rows, output, allow_partial=_ALLOW_PARTIAL.value
    )
    _report(output, expected_rows, [config for _, config in runs.values()])


def _read_finished(workdir: Path) -> RunConfig:
    """Returns the config of the run in `workdir`.

    Raises: UserError: it is not a finished fine-tuning on a task of GLUE.
    """
    config = workdir_lib.read_config(workdir)
    job, task = config.job, config.task.name
    if job != "finetune" or task not in glue_submission.MODELS:
        raise UserError(
            f"{workdir} holds a run of job {job!r} on task {task!r}; finetune on one "
            f"of {', '.join(glue_submission.MODELS)} is expected; leave it out"
        )
    if workdir_lib.read_result(workdir) is None:
        raise UserError(
            f"{workdir} holds an unfinished run; a finished one is expected; run its "
            "command again, which resumes it"
        )
    return config


def _read(
    file: GlueFile, workdir: Path, config: RunConfig
) -> tuple[list[str | float], int]:
    """Returns the answers of a run for `file`, and the expected number of rows."""
    rows = predictions.read(workdir, file.predictions_split)
    source = str(predictions.path_of(workdir, file.predictions_split))
    answers = glue_submission.answers(file, rows, source)
    return answers, _num_test_rows(file, config)


def _num_test_rows(file: GlueFile, config: RunConfig) -> int:
    """Returns the number of rows of the official test set, or of storyworld's."""
    if not task_data.is_storyworld(config.data):
        return file.num_rows
    task = registry.named(file.task)
    return len(task_data.open_data(config.data).load(task, file.split).examples)


def _report(output: Path, num_rows: dict[str, int], configs: list[RunConfig]) -> None:
    """Prints what was written, and warns about what the server does not accept."""
    for name, count in num_rows.items():
        terminal.say(f"{name}: {terminal.counted(count, 'row')}")
    synthetic = [
        config.task.name for config in configs if task_data.is_storyworld(config.data)
    ]
    if synthetic:
        terminal.warn(
            f"{', '.join(synthetic)}: predictions on storyworld, synthetic data; GLUE "
            "scores predictions on its own test sets only"
        )
    missing = [name for name in glue_submission.FILES if name not in num_rows]
    if missing:
        terminal.warn(f"a partial submission, without {', '.join(missing)}")
    terminal.say(f"{output}: {terminal.counted(len(num_rows), 'file')}")


if __name__ == "__main__":
    app.run(main, _FLAGS, positionals="WORKDIR")
