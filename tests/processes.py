"""Runs commands in processes that do not have to import the package first.

Importing takes seconds, too long for the many commands of the suite. Each command is
forked from a process that has imported the package, the fork server of
multiprocessing, and then behaves like `python -m gpt1_jax.NAME ARGUMENT ...`. It lacks
the output of imports and the work at an interpreter's exit: tests of these use
run_module.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax

ROOT = Path(__file__).parents[1]
_SERVER = multiprocessing.get_context("forkserver")
# Modules that the commands import. A command itself is __main__ in its process.
_SERVER.set_forkserver_preload(
    [
        "gpt1_jax.cli.experiment",
        "gpt1_jax.data.text.preparation",
        "gpt1_jax.jobs.pretrain",
    ]
)


def run_module(
    module: str,
    arguments: Sequence[str],
    directory: Path = ROOT,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess:
    """Runs `python -m MODULE ARGUMENT ...` in a new interpreter on CPU."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=directory,
        env=os.environ | {"JAX_PLATFORMS": "cpu"} | (env or {}),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def run_on_devices(script: str, count: int) -> None:
    """Runs a file in a process with `count` CPU devices.

    Raises: CalledProcessError: the process failed.
    """
    env = os.environ | {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={count}",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(ROOT),
    }
    subprocess.run([sys.executable, script], env=env, check=True, timeout=300)


class Command:
    """A command on CPU, running or ended, with methods and fields of Popen.

    Args: name_and_arguments: the module's name in gpt1_jax, then its arguments.
          directory: the current directory of the command.
          env: variables to add to this process's environment. Variables that are read
          when JAX is imported have no effect.
          is_one_stream: whether errors go to the standard output.
    """

    def __init__(
        self,
        name_and_arguments: Sequence[object],
        directory: Path,
        env: Mapping[str, str] | None = None,
        is_one_stream: bool = False,
    ):
        self._printed = tempfile.TemporaryDirectory(prefix="gpt1_jax-printed-")
        out, err = (Path(self._printed.name) / name for name in ("out", "err"))
        out.touch()
        err.touch()
        self._streams = (out, err)
        arguments = [str(argument) for argument in name_and_arguments]
        streams = (out, out) if is_one_stream else (out, err)
        self._process = _SERVER.Process(
            target=_run,
            args=(arguments, directory, os.environ | (env or {}), streams),
        )
        self._process.start()

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def kill(self) -> None:
        self._process.kill()

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self._process.pid, number)

    def communicate(self, timeout: float = 300) -> tuple[str, str]:
        """Waits for the end; returns the standard output and the errors."""
        self._process.join(timeout)
        with self._printed:
            out, err = (path.read_text(encoding="utf-8") for path in self._streams)
        if self.returncode is None:
            self.kill()
            raise TimeoutError(f"{timeout} s: {out}{err}")
        return out, err


def _run(
    arguments: list[str],
    directory: Path,
    env: dict[str, str],
    streams: tuple[Path, Path],
) -> None:
    for number, path in enumerate(streams, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), number)
    os.environ.clear()
    os.environ.update(env | {"JAX_PLATFORMS": "cpu"})
    jax.config.update("jax_platforms", "cpu")
    os.chdir(directory)
    sys.path.insert(0, str(directory))
    sys.argv = arguments
    runpy.run_module(f"gpt1_jax.{arguments[0]}", run_name="__main__", alter_sys=True)
