"""Files that commands write: nothing is replaced unasked."""

import json
import os
import threading

import pytest
from absl import flags

from gpt1_jax import score
from gpt1_jax.cli import outputs

pytestmark = pytest.mark.usefixtures("messages_on_stdout")


@pytest.fixture
def messages_on_stdout():
    yield
    outputs.terminal.use_stderr(False)


def make_output(*argv: object) -> outputs.Output:
    flag_values = flags.FlagValues()
    output = outputs.Output(flag_values, "A file")
    flag_values(["command", *map(str, argv)])
    return output


def write(output: outputs.Output, text: str = "new") -> None:
    with output.open() as file:
        file.write(text)


def test_an_existing_file_is_replaced_only_with_overwrite(tmp_path):
    path = tmp_path / "old"
    path.write_text("a year of work")
    with pytest.raises(ValueError, match=r"old exists; .* add --overwrite to replace"):
        make_output("--output", path).check()
    output = make_output("--output", path, "--overwrite")
    output.check()
    write(output)
    assert path.read_text() == "new"


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_an_input_is_never_replaced_under_any_name(tmp_path, link):
    given, alias = tmp_path / "given", tmp_path / "alias"
    given.write_text("text")
    link(given, alias)
    for path in (given, alias):
        output = make_output("--output", path, "--overwrite")
        with pytest.raises(ValueError, match=r"is the input .*given; another file is"):
            output.check(["-", str(given)])


def test_a_link_is_followed(tmp_path):
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real/target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    write(make_output("--output", link, "--overwrite"))
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_a_pipe_is_written_and_stays(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    output = make_output("--output", pipe)
    output.check()
    write(output)
    reader.join()
    assert read == ["new"]
    assert pipe.is_fifo()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_a_device_is_written_and_stays(tmp_path):
    device = tmp_path / "null"
    try:
        os.mknod(device, 0o666 | 0o020000, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("no devices may be made here")
    write(make_output("--output", device))
    assert device.is_char_device()


@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
def test_standard_output_holds_the_result_alone(
    name, pretrained_workdir, run_command, tmp_path, capsys
):
    given = tmp_path / "given.txt"
    given.write_text("the boat\n")
    run_command(score, checkpoint=pretrained_workdir, input=given, output=name)
    shown = capsys.readouterr()
    (line,) = shown.out.splitlines()
    assert json.loads(line)["text"] == "the boat"
    assert "perplexity" in shown.err


def test_a_directory_and_an_unknown_home_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"is a directory; a file is expected"):
        make_output("--output", tmp_path).check()
    with pytest.raises(ValueError, match=r"~nobody_here/a: .*write the path without ~"):
        make_output("--output", "~nobody_here/a").check()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a" * 256, "File name too long; names of at most 255 bytes"),
        ("file/out", "cannot be made, as .*file is a file; a directory is expected"),
    ],
)
def test_an_output_that_cannot_be_made_is_refused_before_the_work(
    tmp_path, name, message
):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=message):
        make_output("--output", tmp_path / name).check()


def test_the_longest_name_can_be_written(tmp_path):
    output = make_output("--output", tmp_path / ("ä" * 127))
    output.check()
    write(output)
    assert (tmp_path / ("ä" * 127)).read_text() == "new"
