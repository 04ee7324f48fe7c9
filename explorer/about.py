"""About: what the models are, what every file shown was made of, and how to cite it."""

import html
import json
from pathlib import Path
from typing import Any

from explorer import words
from explorer.controls import Control
from explorer.figures import Theme, View
from explorer.tables import Results
from probe.families import Family
from probe.languages import label

KEY, TITLE = "about", "About"
HOW = "What these models are, which files this page shows and what they were made of, and how to cite them."
PLOTS = ()
NOTE = "below"
CITE = (
    "Cite this repository (aya-cross-lingual-probe, with the commit you used), the models with the "
    "revisions below, and for each measure the source that probe/stats/metrics.py names. FLORES-200, where "
    "it was used: NLLB Team 2022."
)
ORGANISM = (
    "nano-aya is a model organism: five Cohere2 models of 1.7 M parameters, trained from scratch on a small "
    "parallel corpus, with alignment planted at state 5 for known languages. It shows whether the "
    "instrument finds what is there. It is no evidence about Tiny Aya or any other model, and no language "
    "model of any use."
)


def settings(results: Results, name: str) -> list[Control]:
    return []


def view(results: Results, name: str, chosen: dict[str, Any], look: Theme) -> View:
    family = results.family(name)
    parts = [f"<p>{html.escape(family.description)}.</p>"]
    parts += [f"<p>{ORGANISM}</p>"] if name == "nano-aya" else []
    provenances = {path.name: _provenance(path) for path in results.files(name)}
    revisions: dict[str, str] = {}
    for found in provenances.values():
        revisions |= found.get("models", {})
    parts += ["<h3>Models</h3>", _models(family, revisions)]
    parts += ["<h3>Files</h3>", _files(results, name, provenances)]
    parts += [f"<h3>How to cite</h3><p>{CITE}</p>", _figures(results, name)]
    return View({}, {}, "".join(parts))


def _provenance(path: Path) -> dict[str, Any]:
    """The metadata of a JSON file, or the file beside a CSV; nothing where there is none or it is damaged."""
    sidecar = path.with_name(f"{path.stem}.meta.json")
    try:
        if path.suffix == ".csv":
            found = json.loads(sidecar.read_text(encoding="utf-8"))
        else:
            found = json.loads(path.read_text(encoding="utf-8")).get("metadata")
    except (OSError, ValueError, AttributeError):
        return {}
    return found if isinstance(found, dict) else {}


def _models(family: Family, revisions: dict[str, str]) -> str:
    rows = [
        (
            html.escape(family.label(name)),
            html.escape(variant.hf or variant.path or ""),
            _short(revisions.get(name)),
            html.escape(", ".join(label(language) for language in variant.emphasises)) or "none",
            html.escape(", ".join(f"{language} {share:g}" for language, share in variant.share.items()))
            or "not published",
        )
        for name, variant in family.variants.items()
    ]
    head = (
        "Variant",
        "Model",
        "Revision measured",
        "Languages it emphasises",
        "Share of its fine-tuning mix, %",
    )
    return words.table(head, rows)


def _short(digest: str | None) -> str:
    return (
        f'<code title="{html.escape(digest)}">{html.escape(digest[:12])}</code>' if digest else "not measured"
    )


def _files(results: Results, name: str, provenances: dict[str, dict[str, Any]]) -> str:
    rows = []
    for path in results.files(name):
        found = provenances[path.name]
        made = json.dumps(
            {key: found.get(key) for key in ("params", "inputs", "models", "versions")}, indent=1
        )
        details = f"<details><summary>made of</summary><pre>{html.escape(made)}</pre></details>"
        rows.append(
            (
                f"<code>{html.escape(path.name)}</code>",
                f"{path.stat().st_size:,}",
                _short(results.sha256(path)),
                details if found else "no provenance with it",
            )
        )
    return words.table(("File", "Bytes", "sha256", "Provenance"), rows)


def _figures(results: Results, name: str) -> str:
    """The printed figures of assets/, small; each is a link to its SVG where there is one, else to itself."""
    folder = results.paths.assets(name)
    shown = []
    for path in sorted(folder.glob("*.png")):
        best = path.with_suffix(".svg")
        link = f"assets/{name}/{best.name if best.exists() else path.name}"
        source = html.escape(f"assets/{name}/{path.name}")
        image = f'<img loading="lazy" src="{source}" alt="{html.escape(path.stem)}">'
        caption = html.escape(path.stem.replace("_", " "))
        shown.append(f'<a href="{html.escape(link)}" target="_blank">{image}<span>{caption}</span></a>')
    if not shown:
        return ""
    return f'<h3>Printed figures</h3><div class="explorer-figures">{"".join(shown)}</div>'
