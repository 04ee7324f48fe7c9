"""Audit: what could fake alignment in these results, and which claims it takes away."""

import html
from collections import Counter
from typing import Any

import pandas as pd

from explorer import controls, rows, words
from explorer.controls import Control
from explorer.figures import Theme, View
from explorer.tables import Results
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


def settings(results: Results, name: str) -> list[Control]:
    return [controls.many("severity", "Severity", SEVERITIES, SEVERITIES)]


def view(results: Results, name: str, chosen: dict[str, Any], look: Theme) -> View:
    found = results.findings(name)
    if found is None:
        return View({}, {}, f"Not audited. Run: uv run concept_alignment.py --family {html.escape(name)}")
    shown = [finding for finding in found if finding.severity in chosen["severity"]]
    table = words.table(
        ("Severity", "Finding", "Where", "Evidence", "Must not be claimed"),
        [_row(finding) for finding in shown],
    )
    button = "<button onclick=\"explorer.table('audit', 'findings')\">CSV</button>"
    source = rows.source(results, name, findings.JSON)
    head = f"<p>{len(shown)} of {len(found)} findings: {findings.counted(shown)}. {source}</p>"
    return View({}, {"findings": _table(shown)}, f'{head}{table}<div class="explorer-files">{button}</div>')


def _row(finding: Finding) -> tuple[str, ...]:
    blocked = Counter(claim.text for claim in finding.blocks)
    said = "<br>".join(html.escape(text) for text in blocked) or "nothing"
    where = [", ".join(finding.variants), ", ".join(finding.languages)]
    return (
        f'<span class="explorer-sev {finding.severity}">{finding.severity}</span>',
        f"<code>{html.escape(finding.id)}</code>",
        "<br>".join(html.escape(part) for part in where if part) or "all",
        words.visible(str(finding.evidence.get("sentence", ""))),
        said,
    )


def _table(shown: list[Finding]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "severity": f.severity,
                "id": f.id,
                "variants": " ".join(f.variants),
                "languages": " ".join(f.languages),
                "evidence": f.evidence.get("sentence", ""),
                "blocks": "; ".join(dict.fromkeys(claim.text for claim in f.blocks)),
            }
            for f in shown
        ],
        columns=["severity", "id", "variants", "languages", "evidence", "blocks"],
    )
