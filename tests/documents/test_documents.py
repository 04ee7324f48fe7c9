"""The documents: every marked number is its file's, every link leads somewhere, every command parses; and the
check itself sees what is wrong."""

import importlib
import json
import re
import shlex
import shutil

import pytest

from probe import documents
from probe.errors import ProbeError
from probe.paths import REPOSITORY

PAGES = documents.documents()
# Documents whose every decimal and percentage either stands in a marker or is one of these.
CHECKED = ("REPORT.md", "PRODUCTION_DELTA.md")
GIVEN = {
    "95 %", "80 %",  # of an interval, of a power
    "0.01", "0.05", "0.85", "0 %",  # levels and thresholds chosen, not found
    "3.35", "2.8", "1.7",  # 10^9 and 10^6 parameters, by configuration
    "1.2",  # terabytes, from the shape alone
}  # fmt: skip
# Sections and papers have points too.
STATED = re.compile(r"(?:[Ss]ection |[Ss]ee |\(|^### )\d\.\d|arXiv \d{4}\.\d{5}", re.MULTILINE)


TABLE = """variant,language,state,stimuli,position,metric,value,ci_low,ci_high,null,p_value,n
a,hi,1,probes,mean,excess,0.5,0.4,0.6,0,0.001,20
a,sw,1,probes,mean,excess,-0.25,-0.3,-0.2,0,0.001,20
a,hi,0,probes,last,cosine,1,1,1,1,1,20
b,hi,1,probes,mean,excess,0.125,0.1,0.15,0,0.001,20
b,sw,1,probes,mean,excess,0.0,-0.1,0.1,0,0.4,20
"""
FULL_STOP = {
    "id": "full_stop",
    "severity": "high",
    "languages": ["hi"],
    "variants": [],
    "evidence": {"sentence": "a full stop"},
    "blocks": [{"where": {"position": ["last"], "state": [0]}, "text": "state 0"}],
}


@pytest.fixture
def root(tmp_path):
    """A root with one table, its audit, one JSON file, and sources for them."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "sources.toml").write_text(
        '[levels]\nfile = "alignment_summary.csv"\nwhere = { metric = ["excess", "cosine"] }\n'
        '[counts]\nfile = "counts.json"\n'
    )
    (tmp_path / "alignment_summary.csv").write_text(TABLE)
    (tmp_path / "artifact_audit.json").write_text(json.dumps({"findings": [FULL_STOP]}))
    (tmp_path / "counts.json").write_text('{"base": {"share": 0.5}, "list": [1, 2]}')
    return tmp_path


def made(root, text: str) -> str:
    """What the text says once regenerated, without the comments."""
    fresh = documents.refreshed(text, "page.md", documents.load_sources(root))
    return re.sub(r"<!--.*?-->", "", fresh)


def number(asked: str) -> str:
    return f"<!--n {asked}-->?<!--/n-->"


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (
            "levels variant=a language=hi state=1: {value:.2f} [{ci_low:.1f}, {ci_high:.1f}]",
            "0.50 [0.4, 0.6]",
        ),
        ("levels variant=a,b position=mean largest=value: {language} {value:+.2f}", "hi +0.50"),
        ("levels variant=a,b position=mean smallest=value: {value:.2f} of {count}", "-0.25 of 4"),
        ("levels language=sw extreme=value: {variant}", "a"),
        ("levels position=mean value>0.1: {count}", "2"),
        ("levels position=mean value<0: {count}", "1"),
        ("levels position=last blocked=shown: {value:.1f}", "(1.0)"),
        ("counts: {base[share]:.0%} {list[1]}", "50% 2"),
    ],
)
def test_a_number_is_taken_from_its_file(root, asked, says):
    assert made(root, f"before {number(asked)} after") == f"before {says} after"


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ("levels variant=a: {value}", "3 rows of alignment_summary.csv match, not one"),
        ("levels variant=c: {value}", "0 rows"),
        ("levels position=last: {value}", "the auditor blocks it: full_stop"),
        ("levels position=last: {count}", "the auditor blocks it: full_stop"),
        ("levels variant=a language=hi state=1: {val}", "no 'val'"),
        ("levels kind=a: {value}", "no 'kind'"),
        ("levels hi: {value}", "'hi' is no filter"),
        ("levels variant=a", "no format"),
        ("nowhere variant=a: {value}", "no source 'nowhere'"),
        ("counts: {base[none]}", "no 'none'"),
    ],
)
def test_what_cannot_be_said_is_refused_naming_document_line_and_marker(root, asked, complaint):
    with pytest.raises(ProbeError) as caught:
        made(root, f"first line\n{number(asked)}")
    assert str(caught.value).startswith("page.md:2: <!--n ")
    assert asked in str(caught.value)
    assert complaint in str(caught.value)


def test_a_table_of_two_columns_and_one_of_the_parts_of_a_format(root):
    cross = "<!--table levels rows=language columns=variant state=1: {value:.2f}--><!--/table-->"
    assert made(root, cross).splitlines()[1:] == [
        "| language | a | b |",
        "| --- | --- | --- |",
        "| Hindi (hi) | 0.50 | 0.12 |",
        "| Swahili (sw) | -0.25 | 0.00 |",
    ]
    parts = (
        "<!--table levels rows=language variant=a state=1: {value:.1f} | [{ci_low:.1f}, {n}]--><!--/table-->"
    )
    assert made(root, parts).splitlines()[1] == "| language | value | [ci_low, n] |"
    assert made(root, parts).splitlines()[3] == "| Hindi (hi) | 0.5 | [0.4, 20] |"


def test_what_is_pending_may_stand_until_its_file_exists(root):
    sources = documents.load_sources(root)
    waiting = "<!--pending results/none.csv-->not yet<!--/pending-->"
    assert documents.refreshed(waiting, "page.md", sources) == waiting
    with pytest.raises(ProbeError, match="the file is there now"):
        documents.refreshed("<!--pending README.md-->not yet<!--/pending-->", "page.md", sources)


def test_code_fences_are_left_alone_and_an_open_marker_is_not(root):
    fenced = f"```\n{number('nowhere: {x}')}\n```\n"
    assert documents.refreshed(fenced, "page.md", documents.load_sources(root)) == fenced
    with pytest.raises(ProbeError, match="not closed"):
        made(root, "<!--n levels: {value}-->0.5")


def test_the_command_tells_what_differs_and_writes_it(root, capsys):
    page = root / "page.md"
    page.write_text(f"text {number('levels variant=b language=hi: {value:.3f}')} text\n")
    assert documents.main(["--root", str(root)]) == 1
    assert 'page.md:1: says "?"' in capsys.readouterr().out
    assert documents.main(["--root", str(root), "--write"]) == 0
    assert "-->0.125<!--" in page.read_text()
    assert documents.main(["--root", str(root)]) == 0
    table = root / "alignment_summary.csv"
    table.write_text(TABLE.replace("0.125", "0.375"))
    assert documents.main(["--root", str(root)]) == 1
    table.unlink()
    assert documents.main(["--root", str(root)]) == 1
    assert capsys.readouterr().err.startswith("error: page.md:1:")


def test_every_marked_number_of_this_repository_is_its_files():
    assert documents.stale() == []


def test_the_documents_hold_markers():
    report = (REPOSITORY / "REPORT.md").read_text(encoding="utf-8")
    assert len(documents.MARKER.findall(report)) > 50


def test_a_changed_result_shows(tmp_path):
    """In a copy of the report and all its sources, one digit of one of these."""
    for name in ("docs", "bench", "results", "organism/training.json"):
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("*.png"))
        else:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, tmp_path / name)
    shutil.copy(REPOSITORY / "REPORT.md", tmp_path)
    assert documents.stale(tmp_path) == []
    table = tmp_path / "bench" / "calibration.csv"
    table.write_text(table.read_text().replace("0.958", "0.858"))
    (line,) = documents.stale(tmp_path)
    assert line.startswith("REPORT.md:")
    assert "calibration rows=check" in line


@pytest.mark.parametrize("name", CHECKED)
def test_no_decimal_stands_outside_a_marker(name):
    text = STATED.sub(" ", (REPOSITORY / name).read_text(encoding="utf-8"))
    assert set(documents.unmarked(text)) <= GIVEN


def test_unmarked_numbers_are_seen_and_code_links_and_markers_are_not():
    plain = "0.41 and 7 % and -1.5; v1.2.3, 5 states"
    rest = "`0.2`, [x](a0.3b), <!--n a: {b}-->0.4<!--/n-->, <!-- 0.5 -->\n```\n0.6\n```\n"
    text = f"{plain} {rest}"
    assert documents.unmarked(text) == ["0.41", "7 %", "-1.5"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_link_and_anchor_resolves(page):
    assert documents.broken_links(page) == []


def test_broken_links_are_seen(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# One, two\n[a](#one-two) [b](#three) [c](none.md) [d](page.md#one-two) [e](https://x.y/z)\n"
    )
    assert documents.broken_links(page) == ["#three", "none.md"]


COMMANDS = sorted(
    {
        command.strip()
        for page in PAGES
        for command in re.findall(r"uv run ((?:viz/)?\w+\.py[^`#\n|(]*)", page.read_text(encoding="utf-8"))
    }
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_a_document_parses(command):
    script, *arguments = shlex.split(command)
    importlib.import_module(script.removesuffix(".py").replace("/", ".")).parser().parse_args(arguments)
