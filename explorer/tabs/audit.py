"""Audit: what could fake alignment in these results, and which claims it takes away."""

import html
from typing import Any

import pandas as pd

from explorer import controls, words
from explorer.controls import Control
from explorer.data import AUDIT, Results
from explorer.plots.look import Theme, View
from explorer.tabs import rows
from probe.audit import findings
from probe.audit.findings import SEVERITIES, Finding

KEY, TITLE = "audit", "Audit"
HOW = (
    "What the auditor found that can fake alignment: a full stop read as the last token, a constant, "
    "mismatched pairs that score as high, chance. What a finding blocks is drawn with open markers here and "
    "claimed nowhere."
)
PLOTS = ()
NOTE = "below"
COLUMNS = ["severity", "id", "variants", "languages", "evidence", "blocks"]


def settings(results: Results, name: str) -> list[Control]:
    return [controls.many("severity", "Severity", SEVERITIES, SEVERITIES)]


def view(results: Results, name: str, chosen: dict[str, Any], look: Theme) -> View:
    all_of_them = results.findings(name)
    if all_of_them is None:
        return View({}, {}, f"Not audited. Run: uv run concept_alignment.py --family {html.escape(name)}")
    shown = [finding for finding in all_of_them if finding.severity in chosen["severity"]]
    head = ("Severity", "Finding", "Where", "Evidence", "Must not be claimed")
    count = f"{len(shown)} of {len(all_of_them)} findings: {findings.counted(shown)}."
    button = "<button onclick=\"explorer.table('audit', 'findings')\">CSV</button>"
    note = f"<p>{count} {rows.source(results, name, AUDIT)}</p>{words.table(head, map(_row, shown))}"
    table = pd.DataFrame(map(_record, shown), columns=COLUMNS)
    return View({}, {"findings": table}, f'{note}<div class="explorer-files">{button}</div>')


def _blocked(finding: Finding) -> list[str]:
    return list(dict.fromkeys(claim.text for claim in finding.blocks))


def _row(finding: Finding) -> tuple[str, ...]:
    where = [", ".join(finding.variants), ", ".join(finding.languages)]
    return (
        f'<span class="explorer-sev {finding.severity}">{finding.severity}</span>',
        f"<code>{html.escape(finding.id)}</code>",
        "<br>".join(html.escape(part) for part in where if part) or "all",
        words.visible(str(finding.evidence.get("sentence", ""))),
        "<br>".join(html.escape(text) for text in _blocked(finding)) or "nothing",
    )


def _record(f: Finding) -> tuple[str, ...]:
    places = " ".join(f.variants), " ".join(f.languages)
    return (f.severity, f.id, *places, f.evidence.get("sentence", ""), "; ".join(_blocked(f)))
