"""The command `gpt1`, or `python -m gpt1_jax`: lists the commands and runs one by name.

gpt1                    lists the commands
gpt1 COMMAND FLAGS      the same as python -m gpt1_jax.COMMAND FLAGS
"""

import ast
import runpy
import sys
from pathlib import Path

from gpt1_jax import __version__, errors

PACKAGE = Path(__file__).parent
# Listed in the order in which users need them.
COMMANDS = (
    "main",
    "sweep",
    "prepare",
    "generate",
    "score",
    "predict",
    "convert",
    "submit",
    "report",
    "runs",
)


def main() -> None:
    """Runs the command that sys.argv names; lists the commands if it names none."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_overview())
        return
    name, *rest = arguments
    if name == "--version":
        print(f"gpt1_jax {__version__}")
        return
    if name not in COMMANDS:
        hint = errors.suggestion(name, COMMANDS, "gpt1 without arguments lists them")
        print(
            f"error: unknown command {name}; {', '.join(COMMANDS)}; {hint}",
            file=sys.stderr,
        )
        sys.exit(errors.MISTAKE)
    sys.argv = [f"gpt1 {name}", *rest]
    runpy.run_module(f"gpt1_jax.{name}", run_name="__main__", alter_sys=True)


def _overview() -> str:
    """Returns the commands, each with the first line of its docstring.

    Parses the files because importing all commands takes seconds.
    """
    lines = [f"gpt1_jax {__version__}: GPT-1 in JAX", "", "Commands:"]
    for name in COMMANDS:
        source = (PACKAGE / f"{name}.py").read_text(encoding="utf-8")
        summary = (ast.get_docstring(ast.parse(source)) or "").splitlines()[0]
        lines.append(f"  {name:<10}{summary}")
    return "\n".join(
        [*lines, "", "gpt1 COMMAND --help shows a command's flags and examples."]
    )


if __name__ == "__main__":
    main()
