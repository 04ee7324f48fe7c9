"""Where a text should go: which variant, and what in the text stands in the way."""

from probe.routing.decision import CATEGORIES, Decision, Span
from probe.routing.router import Router, default_router, route

__all__ = ["CATEGORIES", "Decision", "Router", "Span", "default_router", "route"]
