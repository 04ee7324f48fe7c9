"""The documents are what their templates give, and the renderer refuses what must not be said."""

import json
import shutil

import pytest

from docs import render
from probe.errors import ProbeError
from probe.paths import REPOSITORY

TABLE = """variant,language,state,stimuli,position,metric,value,ci_low,ci_high,null,null_low,null_high,p_value,q_value,p_max,n
a,hi,1,probes,mean,excess,0.5,0.4,0.6,0,0,0,0,0,0,20
a,sw,1,probes,mean,excess,-0.25,-0.3,-0.2,0,0,0,0,0,0,20
a,hi,0,probes,last,cosine,1,1,1,1,1,1,1,1,1,20
b,hi,1,probes,mean,excess,0.125,0.1,0.15,0,0,0,0,0,0,20
b,sw,1,probes,mean,excess,0.0,-0.1,0.1,0,0,0,0,0,0,20
"""  # noqa: E501
FULL_STOP = {
    "id": "full_stop",
    "severity": "high",
    "languages": ["hi"],
    "variants": [],
    "evidence": {"sentence": "a full stop"},
    "blocks": [{"where": {"position": ["last"], "state": [0]}, "text": "state 0"}],
}
SOURCES = """
[levels]
file = "results/tiny/alignment_summary.csv"
where = { metric = ["excess", "cosine"] }
show = "{value:.2f} [{ci_low:.1f}, {ci_high:.1f}]"
[counts]
file = "counts.json"
[typed."page.md"]
"95 %" = "an interval's level"
"""


@pytest.fixture
def root(tmp_path):
    """A root with one table, its audit, one JSON file, and sources for them."""
    (tmp_path / "docs" / "templates").mkdir(parents=True)
    (tmp_path / "docs" / "sources.toml").write_text(SOURCES)
    results = tmp_path / "results" / "tiny"
    results.mkdir(parents=True)
    (results / "alignment_summary.csv").write_text(TABLE)
    (results / "artifact_audit.json").write_text(json.dumps({"findings": [FULL_STOP]}))
    (tmp_path / "counts.json").write_text('{"base": {"share": 0.5}, "list": [1, 2]}')
    return tmp_path


def rendered(root, text: str) -> str:
    (root / "docs" / "templates" / "page.md.j2").write_text(text)
    ((path, page),) = render.render(root)
    assert path == root / "page.md"
    return page


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ('num("levels", variant="a", language="hi", state=1)', "0.50 [0.4, 0.6]"),
        (
            'num("levels", "{language} {value:+.2f}", variant=["a", "b"], position="mean", largest="value")',
            "hi +0.50",
        ),
        ('num("levels", "{value:.2f}", position="mean", smallest="value")', "-0.25"),
        ('num("levels", "{variant}", language="sw", extreme="value")', "a"),
        ('count("levels", position="mean", where="value > 0.1")', "2"),
        ('count("levels", position="mean", where="value < 0")', "1"),
        ('num("levels", "{value:.1f}", position="last", shown=True)', "(1.0, blocked by `full_stop`)"),
        ('num("counts", "{base[share]:.0%} {list[1]}")', "50% 2"),
        ('pending("none.csv")', ""),
    ],
)
def test_a_number_is_taken_from_its_file(root, asked, says):
    assert rendered(root, f"before {{{{ {asked} }}}} after") == f"before {says} after"


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ('num("levels", variant="a", state=1)', "2 rows match, not one"),
        ('num("levels", variant="c")', "0 rows"),
        ('num("levels", position="last")', "it may not be said: full_stop"),
        ('count("levels", position="last")', "it may not be said: full_stop"),
        ('table("levels", rows="language", columns="variant", position="last")', "it may not be said"),
        ('num("levels", "{val}", variant="a", language="hi", state=1)', "no 'val'"),
        ('num("levels", kind="a")', "no 'kind'"),
        ('num("counts")', "no 'show'"),
        ('num("nowhere", variant="a")', "no source 'nowhere'"),
        ('num("counts", "{base[none]}")', "no 'none'"),
        ('num("counts", "0.41 {list[1]}")', "the format types 0.41"),
        ('pending("counts.json")', "is there now"),
        ('"0.41"', "not taken from a file"),
        ("0.4 + 0.01", "not taken from a file"),
        ('count("levels", position="mean") ~ ".41"', "not taken from a file"),
        ('nun("levels")', "'nun' is undefined"),
    ],
)
def test_what_cannot_be_said_is_refused_naming_template_and_line(root, asked, complaint):
    with pytest.raises(ProbeError) as caught:
        rendered(root, f"first line\n{{{{ {asked} }}}}")
    assert "page.md.j2:2: " in str(caught.value)
    assert complaint in str(caught.value)


@pytest.mark.parametrize("number", ["0.41", "7 %", "-1.5", "12.5%"])
def test_a_typed_number_is_refused_with_its_line(root, number):
    with pytest.raises(ProbeError, match=rf"page.md.j2:3: {number} is typed"):
        rendered(root, f"one\n```\n0.6\n```\n\n{number}, not".replace("```\n0.6\n```\n\n", "`0.6`\n"))


@pytest.mark.parametrize(("verdict", "reason"), [("blocked", "at_chance"), ("descriptive", "comparison")])
def test_where_a_table_has_verdicts_they_decide(root, verdict, reason):
    judged = [
        f"{line},{verdict},{reason}" if i == 1 else f"{line},matched," for i, line in enumerate(TABLE.split())
    ]
    judged[0] = f"{TABLE.split()[0]},verdict,reason"
    (root / "results" / "tiny" / "alignment_summary.csv").write_text("\n".join([*judged, ""]))
    asked = 'num("levels", "{value}", variant="a", state=1, language='
    assert rendered(root, f'{{{{ {asked}"sw") }}}}') == "-0.25"
    assert rendered(root, f'{{{{ {asked}"hi", shown=True) }}}}') == f"(0.5, blocked by `{reason}`)"
    with pytest.raises(ProbeError, match=reason):
        rendered(root, f'{{{{ {asked}"hi") }}}}')


def test_code_links_sections_and_what_is_allowed_may_be_typed(root):
    page = "A 95 % interval (2.4), section 3.1, arXiv 2401.12345, `0.2`, [x](a0.3b), v1.2.3\n```\n0.6\n```\n"
    assert rendered(root, page) == page


def test_a_table_of_two_columns_and_one_of_the_parts_of_a_format(root):
    cross = '{{ table("levels", "{value:.2f}", rows="language", columns="variant", state=1) }}'
    assert rendered(root, cross).splitlines() == [
        "| language | a | b |",
        "| --- | --- | --- |",
        "| Hindi (hi) | 0.50 | 0.12 |",
        "| Swahili (sw) | -0.25 | 0.00 |",
    ]
    parts = (
        '{{ table("levels", "{value:.1f} | [{ci_low:.1f}, {n}]", rows="language", variant="a", state=1) }}'
    )
    assert rendered(root, parts).splitlines()[::3] == [
        "| language | value | [ci_low, n] |",
        "| Swahili (sw) | -0.2 | [-0.3, 20] |",
    ]


def test_the_command_tells_what_differs_and_writes_it(root, capsys):
    template = root / "docs" / "templates" / "page.md.j2"
    template.write_text('text {{ num("levels", "{value:.3f}", variant="b", language="hi") }}\n')
    assert render.main(["--root", str(root), "--check"]) == 1
    assert not (root / "page.md").exists()
    assert render.main(["--root", str(root)]) == 0
    assert (root / "page.md").read_text() == "text 0.125\n"
    assert render.main(["--root", str(root), "--check"]) == 0
    (root / "results" / "tiny" / "alignment_summary.csv").write_text(TABLE.replace("0.125", "0.375"))
    capsys.readouterr()
    assert render.main(["--root", str(root), "--check"]) == 1
    said = capsys.readouterr().out
    assert "-text 0.125\n+text 0.375\n" in said
    (root / "results" / "tiny" / "alignment_summary.csv").unlink()
    assert render.main(["--root", str(root), "--check"]) == 1
    assert "page.md.j2:1: " in capsys.readouterr().err


def test_every_document_of_this_repository_is_what_its_template_gives(capsys):
    status = render.main(["--check"])
    assert status == 0, capsys.readouterr()


def test_a_changed_result_shows(tmp_path, capsys):
    """In a copy of the report and all its sources, one figure of one of these."""
    ignored = shutil.ignore_patterns("*.png", "adr", "logit_lens.csv", "concept_map.csv")
    for name in ("docs", "bench", "results"):
        shutil.copytree(REPOSITORY / name, tmp_path / name, ignore=ignored)
    for name in ("organism", "data"):
        (tmp_path / name).mkdir()
    shutil.copy(REPOSITORY / "organism" / "training.json", tmp_path / "organism")
    for path, text in render.render(tmp_path):
        path.write_text(text)
    table = tmp_path / "bench" / "calibration.csv"
    head, first, *rest = table.read_text().splitlines(keepends=True)
    check, sets, _, *more = first.rsplit(",", 7)
    table.write_text("".join([head, ",".join([check, sets, "0.123", *more]), *rest]))
    assert render.main(["--root", str(tmp_path), "--check"]) == 1
    differing = [line for line in capsys.readouterr().out.splitlines() if line.startswith("+|")]
    assert len(differing) == 1
    assert "0.123" in differing[0]
