"""Where a text should go: which variant, and what in the text stands in the way."""

from probe.routing.decision import CATEGORIES, Decision, Span
from probe.routing.evaluation import Evaluation, evaluate
from probe.routing.policy import Policy, load_policy
from probe.routing.router import Router, default_router, route

__all__ = [
    "CATEGORIES",
    "Decision",
    "Evaluation",
    "Policy",
    "Router",
    "Span",
    "default_router",
    "evaluate",
    "load_policy",
    "route",
]
