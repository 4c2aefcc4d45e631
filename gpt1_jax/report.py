r"""Reports runs beside the paper's tables and figures, read from workdirs.

    python -m gpt1_jax.report runs/pretrain runs/sweep-ablations --output report

A directory stands for all workdirs below it, for example those of a sweep or a study.
The command writes report.html, a single file that needs no network; report.md, the same
in Markdown; and the figures as PNG files. Results that were not run are collapsed; runs
on synthetic data are marked.
"""

from pathlib import Path

from absl import flags

from gpt1_jax import files, terminal
from gpt1_jax.cli import app
from gpt1_jax.reporting import contents, page
from gpt1_jax.reporting import runs as runs_lib

_FLAGS = flags.FlagValues()
_OUTPUT = flags.DEFINE_string(
    "output", None, "Directory to write.", required=True, flag_values=_FLAGS
)


def main(workdirs: list[str]) -> None:
    """Runs the command."""
    output = files.expand(_OUTPUT.value)
    files.check_writable(output, "name another --output")
    terminal.say(f"reading {', '.join(workdirs)}")
    runs, damaged, warnings = runs_lib.read([Path(given) for given in workdirs])
    for warning in warnings:
        terminal.warn(warning)
    finished = sum(run.is_finished for run in runs)
    terminal.say(
        f"{terminal.counted(len(runs) + len(damaged), 'workdir')}: {finished} "
        f"finished, {len(runs) - finished} not finished, {len(damaged)} damaged"
    )
    report = contents.build(runs, damaged, warnings)
    page.write(report, output)
    terminal.say(
        f"{output / page.MARKDOWN_FILE}, {len(report.pictures())} figures beside it"
    )
    terminal.say(f"{output / page.HTML_FILE}")


if __name__ == "__main__":
    app.run(main, _FLAGS, positionals="WORKDIR")
