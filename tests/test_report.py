"""The report as its user gets it, of workdirs that hold every study."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gpt1_jax import report
from gpt1_jax.cli import app
from tests.reporting.workdirs import (
    LSTM,
    NO_AUXILIARY,
    NOTHING,
    STORYWORLD,
    put,
    put_finetuned,
)

_ZERO_SHOT_ROWS = [
    {"step": step, "eval/sst2/accuracy": 0.5 + x / 10, "eval/sst2/normalised": x}
    for step, x in ((1, 0.0), (10, 0.2), (100, 0.3))
]


def run(output: Path, *workdirs: Path) -> None:
    """The command, in this process."""
    report._FLAGS(["report", f"--output={output}"])
    report.main([str(workdir) for workdir in workdirs])


def put_studies(root: Path, **data) -> None:
    """A run of every kind, on the data that the fields `data` name."""
    rows = [
        {"step": n, "train/loss": 9 / n, "train/task_loss": 1 / n} for n in (1, 2, 3)
    ]
    rows[-1]["eval/loss"] = 3.5
    pretrain = {"job": "pretrain", "data.corpus": "/books/*.txt"} | data
    metrics = {"eval/perplexity": 23.0, "eval/unigram_perplexity": 170.0}
    put(root, "pretrain", metrics, rows, fields=pretrain)
    zero_shot = {"job": "zeroshot", "data.task_dir": "/data/glue"} | data
    put(root, "zeroshot", {}, _ZERO_SHOT_ROWS, fields=zero_shot)
    cells = {"full": {}, "none": NOTHING, "lstm": LSTM, "no_aux": NO_AUXILIARY}
    cells |= {"two": {"init.num_layers": 2}}
    rows[0]["eval/accuracy"] = rows[-1]["eval/accuracy"] = 0.75
    for name, fields in cells.items():
        fields = fields | data
        put_finetuned(root, name, "rte", {"accuracy": 0.75}, rows, fields=fields)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """A report of every study, on official and on synthetic data."""
    root = tmp_path_factory.mktemp("study")
    put_studies(root / "official")
    put_studies(root / "synthetic", **STORYWORLD)
    put_finetuned(root, "<script>alert(7)</script>", "snli")
    run(root / "report", root / "official", root / "synthetic", *root.glob("<*"))
    return root / "report"


def test_every_study_has_its_figure_for_each_kind_of_data(written):
    names = {path.name for path in written.glob("*.png")}
    both = {"pretraining", "zero-shot", "layer-transfer", "task-loss", "dev-scores"}
    assert names == {
        *(f"{name}.png" for name in both | {"overview", "auxiliary-gain"}),
        *(f"{name}-synthetic.png" for name in both),
    }
    shown = re.findall(r"\]\(([^)]+\.png)\)", (written / "report.md").read_text())
    assert set(shown) == names


def test_the_page_has_all_sections_and_what_is_missing(written):
    html = (written / "report.html").read_text(encoding="utf-8")
    for number in (1, 2, 3, 4, 5):
        assert f"Table {number}:" in html
    assert "15 runs: 2 x pretrain, 11 x finetune, 2 x zeroshot. 14 have" in html
    assert "7 of the runs are on storyworld" in html
    assert "has not finished" in html
    assert "&lt;script&gt;alert(7)" in html
    assert "<script" not in html
    assert "not run" in html


def test_results_come_first_and_the_papers_data_sets_last(written):
    titles = re.findall(r"^## (.*)$", (written / "report.md").read_text(), re.M)
    assert titles[:2] == ["Pre-training", "Results: Tables 2 to 4"]
    assert titles[-1] == "Tasks: Table 1"


def test_what_was_not_run_is_collapsed(tmp_path):
    row = {"step": 3, "train/task_loss": 0.5, "eval/accuracy": 0.75}
    put_finetuned(tmp_path, "rte", "rte", {"accuracy": 0.75}, [row])
    run(tmp_path / "out", tmp_path / "rte")
    markdown = (tmp_path / "out/report.md").read_text(encoding="utf-8")
    html = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    title = "Table 3: question answering and commonsense reasoning"
    assert f"\n\n**{title}**: not run.\n\n" in markdown
    assert f'<details id="table-3">\n<summary>{title}: not run</summary>' in html
    assert '<div id="table-2">' in html
    # One evaluation is a point of the learning curves.
    assert (tmp_path / "out/dev-scores.png").exists()
    assert (tmp_path / "out/task-loss.png").exists()


def test_a_tile_names_its_run_and_shows_the_unigram_beside_the_perplexity(written):
    lines = (written / "report.md").read_text(encoding="utf-8").splitlines()
    assert (
        "- **23.0** held-out perplexity of official/pretrain; unigram 170.0; "
        "paper 18.4, on BooksCorpus" in lines
    )
    assert any("pre-training, 1 task of official/full; paper" in line for line in lines)


def test_the_command_says_what_it_read_and_ends_with_the_page(tmp_path, capsys):
    put_finetuned(tmp_path, "runs/a", "rte", {"accuracy": 0.75})
    put_finetuned(tmp_path, "runs/b", "rte")
    (tmp_path / "runs/c").mkdir()
    (tmp_path / "runs/c/config.json").write_text("{")
    run(tmp_path / "out", tmp_path / "runs")
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"reading {tmp_path / 'runs'}"
    assert any(
        line.startswith("warning:") and "runs/b has not" in line for line in said
    )
    assert any(
        line.startswith("warning:") and "runs/c is left out" in line for line in said
    )
    assert "3 workdirs: 1 finished, 1 not finished, 1 damaged" in said
    assert said[-1] == str(tmp_path / "out/report.html")


def test_an_output_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"file is a file; a directory is expected"):
        run(tmp_path / "file", tmp_path)


def test_help_shows_flags_and_an_example():
    lines = app._help(report, report._FLAGS).splitlines()
    assert len(lines) <= 30
    assert max(map(len, lines)) <= 88
    assert any(line.startswith("    python -m gpt1_jax.report runs/") for line in lines)
    assert "  --output: Directory to write. (required)" in lines


def _chromium() -> str:
    """A browser that is installed; "" if none is."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = [path for name in names if (path := shutil.which(name))]
    cache = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH", "~/.cache/ms-playwright"))
    found += map(str, cache.expanduser().glob("chromium-*/chrome-linux*/chrome"))
    return next(iter(found), "")


# Tells, within the page, which pictures were shown, and how wide the page is.
_CHECK = """<pre id="check"></pre><script>
addEventListener("load", () => {
  const widths = [...document.images].map(image => image.naturalWidth);
  const wide = document.documentElement.scrollWidth - innerWidth;
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const found = {widths, wide, dark};
  document.getElementById("check").textContent = JSON.stringify(found);
});
</script></body>"""


@pytest.mark.skipif(not _chromium(), reason="no Chromium is installed")
@pytest.mark.parametrize(("scheme", "width"), [(1, 1200), (0, 500)])
def test_a_browser_shows_all_pictures_and_no_error(written, tmp_path, scheme, width):
    html = (written / "report.html").read_text(encoding="utf-8")
    checked = tmp_path / "checked.html"
    checked.write_text(html.replace("</body>", _CHECK), encoding="utf-8")
    done = subprocess.run(
        [
            *(_chromium(), "--headless", "--no-sandbox", "--disable-gpu"),
            *("--no-first-run", "--disable-background-networking", "--disable-sync"),
            *("--disable-component-update", f"--user-data-dir={tmp_path / 'profile'}"),
            *("--enable-logging=stderr", f"--window-size={width},900"),
            *(f"--blink-settings=preferredColorScheme={scheme}", "--dump-dom"),
            checked.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "CONSOLE" not in done.stderr
    told = re.search(r'<pre id="check">(.*?)</pre>', done.stdout)
    found = json.loads(told[1])
    assert len(found["widths"]) == len(list(written.glob("*.png")))
    assert min(found["widths"]) > 100
    assert found["wide"] <= 0
    assert found["dark"] == (scheme == 0)
