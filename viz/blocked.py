"""What may not be claimed of the results that a figure shows: asked in one place, and told in its caption."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from probe.audit import door, findings
from probe.audit.findings import Finding
from probe.families import Family
from probe.paths import Paths

SEVERE = ("high", "medium")  # what is of low severity is a warning, and stays drawn as it is
LEGEND = "no claim"


@dataclass(frozen=True)
class Audit:
    """findings: those that are severe enough to block, None where nothing was audited."""

    findings: list[Finding] | None

    def by(self, table: pd.DataFrame) -> pd.Series:
        """Per row why it may not be claimed, None where it may. A judged table says so itself; of what is in
        none, as a commitment, the findings are asked."""
        if "verdict" in table:
            return pd.Series(table["reason"], dtype=object).mask(door.claimable(table), None)
        return findings.blocking(table, self.findings or [])

    def note(self, by: Iterable[str | None], what: str, mark: str) -> str:
        """The sentence of a caption. by: one id or None for each of the `what` that a figure shows."""
        if self.findings is None:
            return "Not audited."
        ids = list(by)
        # The kind of finding is enough: what else the id holds, stimuli and position, the caption says.
        kinds = Counter(name.split("/")[0] for name in ids if isinstance(name, str))
        if not kinds:
            return f"The auditor blocks none of the {len(ids)} {what}."
        named = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())
        return f"{mark}: {LEGEND}, {kinds.total()} of {len(ids)} {what} ({named})."


def load(paths: Paths, family: Family) -> Audit:
    """Raises ProbeError with the command that makes the file where it is damaged."""
    path = paths.results(family.name) / findings.JSON
    if not path.exists():
        return Audit(None)
    found = findings.read(path, f"uv run concept_alignment.py --family {family.name}")
    return Audit([finding for finding in found if finding.severity in SEVERE])
