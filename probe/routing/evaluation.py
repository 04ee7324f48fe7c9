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
    """One case: what was expected and what was decided. language_variant: None where none was expected."""

    test_id: str
    category: str
    decided_category: str
    decided_categories: tuple[str, ...]
    variant: str
    decided_variant: str
    language_variant: str | None
    decided_language_variant: str
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
    def right(self) -> dict[str, int]:
        """How many cases are right in what; a case that expects no variant of its language counts as right.

        A mixed case may name several languages, as in "hi-en"; any of them is right."""
        return {
            "category": sum(c.category == c.decided_category for c in self.cases),
            "category among all given": sum(
                c.category in (c.decided_categories or (CLEAN,)) for c in self.cases
            ),
            "variant": sum(c.variant == c.decided_variant for c in self.cases),
            "variant by language alone": sum(
                c.language_variant in (None, c.decided_language_variant) for c in self.cases
            ),
            "language": sum(c.decided_language in _codes(c.language) for c in self.cases),
        }

    @property
    def categories_given(self) -> float:
        """Per case, on average: a router that gives all of them is right about each."""
        return sum(len(case.decided_categories) for case in self.cases) / self.n

    @property
    def confusion(self) -> dict[str, dict[str, int]]:
        counts = Counter((case.category, case.decided_category) for case in self.cases)
        labels = (*CATEGORIES, CLEAN)
        return {row: {column: counts[row, column] for column in labels} for row in labels}

    def summary(self) -> dict:
        """For JSON: counts, the confusion table, the false alarms, the cases."""
        return {
            "n": self.n,
            "right": self.right,
            "categories_given": self.categories_given,
            "confusion": self.confusion,
            "clean": self.clean,
            "false_alarms": [list(alarm) for alarm in self.false_alarms],
            "policy": self.policy,
            "cases": [asdict(case) for case in self.cases],
        }


def _codes(languages: str) -> set[str]:
    return set(languages.replace("+", "-").replace("/", "-").split("-"))


def evaluate(cases: Sequence[Mapping], family: str = "tiny-aya", paths: Paths | None = None) -> Evaluation:
    """Judge labelled cases: each has `test_id` and FIELDS, and may have `clean`, its form without difficulty,
    and `expected_language_variant`.

    The variant expected of a case is the one with no measurement at hand, so the router judged here has that
    policy. Raises ProbeError where there is no case, or one lacks a field.
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
        decided_categories=decision.categories,
        variant=case["expected_variant"],
        decided_variant=decision.variant,
        language_variant=case.get("expected_language_variant"),
        decided_language_variant=decision.language_variant,
        language=case["language_ground_truth"],
        decided_language=decision.language,
    )
