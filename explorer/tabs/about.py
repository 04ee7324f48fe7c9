"""About: what the models are, what every file shown was made of, and how to cite it."""

import html
import json
from typing import Any

from explorer import words
from explorer.controls import Control
from explorer.data import Results
from explorer.plots.look import Theme, View
from probe.conventions import EMBEDDED_FAMILY
from probe.errors import ProbeError
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
    "A model organism shows whether the instrument finds what was planted. It is no evidence about Tiny Aya "
    "or any other model, and no language model of any use."
)
MODELS = (
    "Variant", "Model", "Revision measured", "Languages it emphasises", "Share of its fine-tuning mix, %",
)  # fmt: skip


def settings(results: Results, name: str) -> list[Control]:
    return []


def view(results: Results, name: str, chosen: dict[str, Any], look: Theme) -> View:
    family, made_of = results.family(name), {}
    for path in results.files(name):
        try:
            made_of[path.name] = results.metadata(name, path.name)
        except ProbeError:
            made_of[path.name] = {}
    revisions = {
        variant: revision for of in made_of.values() for variant, revision in of.get("models", {}).items()
    }
    parts = [f"<p>{html.escape(family.description)}.</p>"]
    parts += [f"<p>{ORGANISM}</p>"] if name == EMBEDDED_FAMILY else []
    parts.append(f"<h3>Models</h3>{words.table(MODELS, _models(family, revisions))}")
    files = [_file(results, name, file, of) for file, of in made_of.items()]
    parts.append(f"<h3>Files</h3>{words.table(('File', 'Bytes', 'sha256', 'Provenance'), files)}")
    parts += [f"<h3>How to cite</h3><p>{CITE}</p>", _figures(results, name)]
    return View({}, {}, "".join(parts))


def _models(family: Family, revisions: dict[str, str]) -> list[tuple[str, ...]]:
    return [
        (
            html.escape(family.label(name)),
            html.escape(variant.source),
            _short(revisions[name]) if name in revisions else "not measured",
            ", ".join(map(label, variant.emphasises)) or "none",
            ", ".join(f"{language} {share:g}" for language, share in variant.share.items())
            or "not published",
        )
        for name, variant in family.variants.items()
    ]


def _short(digest: str) -> str:
    return f'<code title="{html.escape(digest)}">{html.escape(digest[:12])}</code>'


def _file(results: Results, family: str, name: str, made_of: dict[str, Any]) -> tuple[str, ...]:
    kept = {key: made_of.get(key) for key in ("params", "inputs", "models", "versions")}
    made = html.escape(json.dumps(kept, indent=1))
    details = f"<details><summary>made of</summary><pre>{made}</pre></details>"
    size = f"{results.file(family, name).stat().st_size:,}"
    digest = _short(results.sha256(family, name))
    return f"<code>{html.escape(name)}</code>", size, digest, details if made_of else "no provenance with it"


def _figures(results: Results, name: str) -> str:
    """The printed figures of assets/, small; each is a link to its SVG where there is one, else to itself."""
    shown = []
    for path in sorted(results.paths.assets(name).glob("*.png")):
        best = path.with_suffix(".svg") if path.with_suffix(".svg").exists() else path
        link, source = (html.escape(f"assets/{name}/{of.name}") for of in (best, path))
        stem = html.escape(path.stem)
        image = f'<img loading="lazy" src="{source}" alt="{stem}"><span>{stem.replace("_", " ")}</span>'
        shown.append(f'<a href="{link}" target="_blank">{image}</a>')
    return f'<h3>Printed figures</h3><div class="explorer-figures">{"".join(shown)}</div>' if shown else ""
