"""The controls of a tab, what values they may take, and the same in the page's address."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qs

LONGEST_TEXT = 100_000  # characters that a control of text takes; explorer/page.js keeps fewer in the address
Kind = Literal["one", "many", "number", "state", "text"]


@dataclass(frozen=True)
class Control:
    """One control. A family may change its choices and bounds, never its name or kind.

    choices: (label, value) pairs, for "one" and "many". low, high, step: for "number" and "state"; a state is
    moved through by the page itself, over frames that it has, see `explorer.plots.look`.
    """

    name: str
    label: str
    kind: Kind
    value: Any = ""
    choices: tuple[tuple[str, str], ...] = ()
    low: float = 0
    high: float = 1
    step: float = 1
    info: str | None = None

    def settle(self, asked: Any) -> Any:
        """What was asked for where it can be had, else the control's own value. Never raises.

        asked: what the page or an address holds: text, a number, a list, or nothing.
        """
        if asked is None:
            return self.value
        if self.kind == "text":
            return str(asked)[:LONGEST_TEXT]
        if self.kind in ("number", "state"):
            return self._number(asked)
        allowed = [value for _, value in self.choices]
        if self.kind == "many":
            names = asked if isinstance(asked, list) else str(asked).split(",")
            return [value for value in allowed if value in names] or list(self.value)
        return asked if asked in allowed else self.value

    def _number(self, asked: Any) -> float | int:
        try:
            number = float(asked)
        except (TypeError, ValueError):
            return self.value
        if not math.isfinite(number):
            return self.value
        number = min(max(number, self.low), self.high)
        return round(number) if float(self.step).is_integer() else round(number, 6)


def settled(controls: Sequence[Control], asked: Mapping[str, Any]) -> dict[str, Any]:
    return {control.name: control.settle(asked.get(control.name)) for control in controls}


def one(name: str, label: str, values: Sequence[str], value: str | None = None, **more: Any) -> Control:
    """A choice of one; the first where `value` is not among them."""
    chosen = value if value in values else (values[0] if values else "")
    labels: Mapping[str, str] = more.pop("labels", {})
    return Control(name, label, "one", chosen, tuple((labels.get(v, v), v) for v in values), **more)


def many(name: str, label: str, values: Sequence[str], value: Sequence[str], **more: Any) -> Control:
    labels: Mapping[str, str] = more.pop("labels", {})
    kept = [v for v in values if v in value] or list(values)
    return Control(name, label, "many", kept, tuple((labels.get(v, v), v) for v in values), **more)


def state(n_states: int, value: int | None = None) -> Control:
    last = max(n_states - 1, 0)
    chosen = last if value is None else min(value, last)
    return Control("state", "State", "state", chosen, low=0, high=max(last, 1), step=1)


def from_address(search: str) -> dict[str, str]:
    """``?tab=curves&curves.metric=cosine`` -> {"tab": "curves", "curves.metric": "cosine"}. Never raises."""
    try:
        return {name: values[-1] for name, values in parse_qs(search.lstrip("?"), max_num_fields=100).items()}
    except ValueError:
        return {}


def of_tab(address: Mapping[str, str], tab: str) -> dict[str, str]:
    return {name.removeprefix(f"{tab}."): v for name, v in address.items() if name.startswith(f"{tab}.")}
