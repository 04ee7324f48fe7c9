"""How often a router is right on labelled cases, and what it takes for what."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from probe.errors import ProbeError
from probe.families import load_family
from probe.paths import Paths
from probe.routing.decision import CATEGORIES
from probe.routing.policy import emphasised
from probe.routing.router import Router

CLEAN = "none"  # the label of a text without a category, in tables
FIELDS = ("input", "failure_category", "expected_variant", "language_ground_truth")


@dataclass(frozen=True)
class Judged:
    """One case: what was expected and what was decided."""

    test_id: str
    category: str
    decided_category: str
    variant: str
    decided_variant: str
    language: str
    decided_language: str


@dataclass(frozen=True)
class Evaluation:
    """cases: in the order given. false_alarms: (test_id, category) of clean forms that were given a category;
    clean: how many clean forms there were. confusion: expected category -> decided category -> cases."""

    cases: tuple[Judged, ...]
    clean: int
    false_alarms: tuple[tuple[str, str], ...]
    policy: str

    @property
    def n(self) -> int:
        return len(self.cases)

    @property
    def categories_right(self) -> int:
        return sum(case.category == case.decided_category for case in self.cases)

    @property
    def variants_right(self) -> int:
        return sum(case.variant == case.decided_variant for case in self.cases)

    @property
    def languages_right(self) -> int:
        """A mixed case may name several languages, as in "hi-en"; any of them is right."""
        return sum(case.decided_language in _codes(case.language) for case in self.cases)

    @property
    def confusion(self) -> dict[str, dict[str, int]]:
        counts = Counter((case.category, case.decided_category) for case in self.cases)
        labels = (*CATEGORIES, CLEAN)
        return {row: {column: counts[row, column] for column in labels} for row in labels}

    def summary(self) -> dict:
        """For JSON: counts, accuracies in [0, 1], the confusion table, the false alarms, the cases."""
        return {
            "n": self.n,
            "category_accuracy": self.categories_right / self.n,
            "variant_accuracy": self.variants_right / self.n,
            "language_accuracy": self.languages_right / self.n,
            "confusion": self.confusion,
            "clean": self.clean,
            "false_alarms": [list(alarm) for alarm in self.false_alarms],
            "policy": self.policy,
            "cases": [asdict(case) for case in self.cases],
        }


def _codes(languages: str) -> set[str]:
    return set(languages.replace("+", "-").replace("/", "-").split("-"))


def evaluate(cases: Sequence[Mapping], family: str = "tiny-aya", paths: Paths | None = None) -> Evaluation:
    """Judge labelled cases: each has `test_id` and FIELDS, and may have `clean`, its form without difficulty.

    The variant expected of a case is the one that emphasises its language, whatever has been measured since,
    so the router judged here has that policy. Raises ProbeError where there is no case, or one lacks a field.
    """
    if not cases:
        raise ProbeError("no case to evaluate")
    for number, case in enumerate(cases, start=1):
        if missing := [field for field in ("test_id", *FIELDS) if field not in case]:
            raise ProbeError(f"case {case.get('test_id', number)} lacks {', '.join(missing)}")
    policy = emphasised(load_family(family, paths or Paths()))
    router = Router(policy=policy)
    clean = [(case["test_id"], router.route(case["clean"]).category) for case in cases if case.get("clean")]
    alarms = tuple((test_id, category) for test_id, category in clean if category)
    return Evaluation(tuple(_judged(case, router) for case in cases), len(clean), alarms, policy.source)


def _judged(case: Mapping, router: Router) -> Judged:
    decision = router.route(case["input"])
    return Judged(
        test_id=str(case["test_id"]),
        category=case["failure_category"] or CLEAN,
        decided_category=decision.category or CLEAN,
        variant=case["expected_variant"],
        decided_variant=decision.variant,
        language=case["language_ground_truth"],
        decided_language=decision.language,
    )
