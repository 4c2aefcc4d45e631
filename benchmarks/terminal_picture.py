"""A picture of a terminal, for README: what a command printed, as an svg.

    python -m gpt1_jax.main --config experiments/pretrain.py | tee demo.txt
    python -m benchmarks.terminal_picture --input demo.txt --output docs/terminal.svg \
        --command 'python -m gpt1_jax.main --config experiments/pretrain.py'

The lines are shown as they are, long ones broken at --columns.
"""

import io
import re
from pathlib import Path

import rich.console
import rich.text
from absl import flags

from gpt1_jax import files, terminal
from gpt1_jax.cli import app
from gpt1_jax.errors import NotFound

_FLAGS = flags.FlagValues()
_INPUT = flags.DEFINE_string(
    "input", None, "What the command printed.", required=True, flag_values=_FLAGS
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "An svg to write.", required=True, flag_values=_FLAGS
)
_COMMAND = flags.DEFINE_string(
    "command", None, "The command.", required=True, flag_values=_FLAGS
)
_COLUMNS = flags.DEFINE_integer(
    "columns", 100, "Of the terminal.", 40, flag_values=_FLAGS
)


def main() -> None:
    """Runs the command."""
    given = Path(_INPUT.value).expanduser()
    if not given.is_file():
        raise NotFound(
            f"no file {given}; a command's output is expected; check --input"
        )
    printed = given.read_text(encoding="utf-8")
    output = Path(_OUTPUT.value).expanduser()
    files.write_atomically(output, picture(_COMMAND.value, printed, _COLUMNS.value))
    terminal.say(f"{output}: {printed.count(chr(10))} lines")


def picture(command_line: str, printed: str, columns: int) -> str:
    """The svg of a terminal in which `command_line` printed this, without a date."""
    console = rich.console.Console(
        record=True, width=columns, file=io.StringIO(), highlight=False, emoji=False
    )
    console.print(rich.text.Text.assemble(("$ ", "bold green"), (command_line, "bold")))
    for line in printed.splitlines():
        style = "yellow" if line.startswith("warning: ") else ""
        console.print(rich.text.Text(line, style=style))
    svg = console.export_svg(title="gpt1_jax", unique_id="terminal")
    # rich names fonts to be fetched; a picture here needs no network.
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)


if __name__ == "__main__":
    app.run(main, _FLAGS)
