"""Stage 8: what is drawn is what the files say, nothing overlaps, the same results give the same bytes."""

import itertools
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.image import imread

from probe import cli, files
from probe.alignment.commitment import commitment_matrix
from probe.audit import findings
from probe.audit.findings import Claim, Finding
from probe.conventions import PRIMARY_METRIC
from probe.languages import TARGETS
from viz import alignment_curves, annotated_curve, blocked, curves, heatmap, held, robustness, style

FAMILY = """
[toy]
description = "toy, made-up curves for the tests; nothing was measured"
control = "global"
default_variants = ["base", "global", "fire", "earth"]
[toy.variants]
base = { path = "base" }
global = { path = "global" }
fire = { path = "fire", emphasises = ["hi", "bn", "ta"] }
earth = { path = "earth", emphasises = ["sw", "am", "yo"] }
water = { path = "water", emphasises = ["fr"] }
mine = { path = "mine" }
"""
METRICS = ("cosine", PRIMARY_METRIC)
VARIANTS = ["base", "global", "fire", "earth"]
SCRIPTS = {
    alignment_curves: ["tweet_three_panel", *(f"alignment_curve_avg_{lang}" for lang in TARGETS)],
    heatmap: ["concept_alignment_heatmap"],
    annotated_curve: ["annotated_rise_peak_collapse"],
    robustness: ["robustness"],
}


def named(script) -> str:
    return script.__name__.removeprefix("viz.")


def summary(n_states: int, variants=VARIANTS) -> pd.DataFrame:
    """Bumps over the states. A variant's primary measure peaks at its own state, higher the later it comes
    in `variants` and in the languages; the raw cosine is that on a level of mismatched pairs of its own."""
    state = np.arange(n_states)
    tables = []
    kinds = (("probes", 20, "mean"), ("parallel", 200, "mean"), ("parallel", 200, "last"))
    for (i, variant), (j, language), (stimuli, n, position) in itertools.product(
        enumerate(variants), enumerate(TARGETS), kinds
    ):
        peak = (i + 1) * n_states / (len(variants) + 1)
        excess = (0.1 + 0.1 * i + 0.01 * j) * np.exp(-(((state - peak) / (n_states / 5)) ** 2))
        level = 0.3 - 0.1 * i + 0.4 * state / n_states
        for metric, shift in ((PRIMARY_METRIC, 0), ("cosine", level)):
            value, null = excess + shift, np.zeros(n_states) + shift
            rows = {
                "variant": variant,
                "language": language,
                "stimuli": stimuli,
                "position": position,
                "metric": metric,
                "state": state,
                "value": value,
                "ci_low": value - 0.02,
                "ci_high": value + 0.03,
                "null": null,
                "p_value": 0.01,
                "q_value": 0.02,
                "p_max": 0.03,
                "n": n,
                "null_low": null - 0.01 * (i + 1),
                "null_high": null + 0.015 * (i + 1),
            }
            tables.append(pd.DataFrame(rows))
    return pd.concat(tables)


def concept_curves(n_states: int, variants=VARIANTS) -> dict:
    """20 concepts; the later in each list, the higher the ramp, so that some commit and some never do."""
    ramp = np.linspace(-0.3, 1.6, n_states).clip(max=1.0)
    return {
        v: {
            f"C{c + 1:02d}": {
                lang: [round(float(x), 6) for x in ramp * (0.3 + 0.03 * c + 0.02 * j + 0.05 * i)]
                for j, lang in enumerate(TARGETS)
            }
            for c in range(20)
        }
        for i, v in enumerate(variants)
    }


def peaks(variants=VARIANTS) -> pd.DataFrame:
    """Not those of `summary`: what is told of a peak must come from here. Yoruba never rises nor falls."""
    cells = itertools.product(variants, TARGETS, (("probes", 20), ("parallel", 200)), METRICS)
    rows = []
    for i, (variant, language, (stimuli, n), metric) in enumerate(cells):
        start = None if language == "yo" else i % 3
        states = {"peak_state": 4 + i % 2, "rise_start": start, "fall_start": start and start + 5}
        ends = {f"{name}_ci_{end}": state for name, state in states.items() for end in ("low", "high")}
        numbers = {"peak": 0.3 + i / 1000, "rise": 0.2, "fall": -0.1 - i / 1000, "": 0}
        spread = {f"{name}_ci_{end}".removeprefix("peak_").removeprefix("_"): 0.1
                  for name in ("peak", "rise", "fall") for end in ("low", "high")}  # fmt: skip
        keys = {"variant": variant, "language": language, "stimuli": stimuli, "position": "mean"}
        rows.append(keys | {"metric": metric, "n": n, "optimism": 0.0} | spread | numbers | states | ends)
    states = [name for name in rows[0] if name.startswith(("peak_state", "rise_start", "fall_start"))]
    return pd.DataFrame(rows).drop(columns="").astype(dict.fromkeys(states, "Int64"))


def effects() -> pd.DataFrame:
    """Two findings by three measures at two positions: MEXA stands nowhere, once it is undefined."""
    rows = []
    kinds = (("probes", 20), ("parallel", 200))
    grid = itertools.product(
        kinds, ("simple", "did"), ("fire", "earth"), ("last", "mean"), (*METRICS, "mexa")
    )
    for i, ((stimuli, n), contrast, variant, position, metric) in enumerate(grid):
        if (position, metric) == ("last", "mexa"):
            continue
        value, half = 0.02 * (i % 12) - 0.05, 1.0 if metric == "mexa" else 0.004
        rows.append(
            {
                "variant": variant,
                "against": "base" if contrast == "simple" else "global",
                "contrast": contrast,
                "reference": "" if contrast == "simple" else "control:global, placebo languages",
                "position": position,
                "metric": metric,
                "state": 3,
                "value": value,
                "ci_low": value - half,
                "ci_high": value + half,
                "p_value": 0.001,
                "n": n,
                "verdict": "stands" if abs(value) > half else "blocked",
                "reason": "" if abs(value) > half else "not_significant/stands",
                "stimuli": stimuli,
            }
        )
    return pd.DataFrame(rows)


def make_root(root, n_states: int, variants=VARIANTS):
    (root / "data").mkdir()
    (root / "data" / "families.toml").write_text(FAMILY)
    folder = root / "results" / "toy"
    folder.mkdir(parents=True)
    summary(n_states, variants).to_csv(folder / "alignment_summary.csv", index=False)
    effects().to_csv(folder / "robustness.csv", index=False)
    peaks(variants).to_csv(folder / "peaks.csv", index=False)
    of = concept_curves(n_states, variants)
    params = {"threshold": 0.85, "consecutive": 3, "primary_position": "mean"}
    content = {"metadata": {"params": params}, "curves": of, "post_norm": {}}
    (folder / "alignment_curves.json").write_text(json.dumps(content))
    concepts = {concept_id: f"concept {concept_id}" for concept_id in of[variants[0]]}
    commitment_matrix(of, concepts).to_csv(folder / "commitment_matrix.csv", index=False)
    return root


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    return make_root(tmp_path_factory.mktemp("viz"), n_states=9)


@pytest.fixture
def root(tmp_path, made):
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path


def asked(root, *options: str):
    """(args, paths, family) as the scripts' own `work` has them."""
    args = curves.add_options(cli.parser("")).parse_args(["--family", "toy", "--root", str(root), *options])
    return args, *cli.context(args)[:2]


def load(root, *options: str):
    """(curves, held levels, family)"""
    args, paths, family = asked(root, *options)
    return curves.load(args, paths, family, METRICS), held.load(args, paths, family), family


def annotated(root, *options: str):
    args, paths, family = asked(root, *options)
    return annotated_curve.draw(*annotated_curve.load(args, paths, family), family)


def figures(root, *options: str) -> dict:
    read, levels, family = load(root, *options)
    return {
        "three": alignment_curves.three_panels(read, family, PRIMARY_METRIC),
        "three raw": alignment_curves.three_panels(read, family, "cosine"),
        "average": alignment_curves.average(read, family, "hi", PRIMARY_METRIC),
        "annotated": annotated(root, *options),
        "heatmap": heatmap.draw(levels, family),
    }


@pytest.fixture(scope="session")
def all_figures(made):
    return figures(made)


# What is written


@pytest.mark.parametrize("script", SCRIPTS, ids=named)
def test_main_writes_what_it_promises_and_the_same_bytes_twice(script, root, capsys, monkeypatch):
    monkeypatch.setattr(curves, "TARGETS", ("hi", "sw", "am"))  # nine would only take longer
    names = [n for n in SCRIPTS[script] if "avg" not in n or n[-2:] in curves.TARGETS]
    assert script.main(["--family", "toy", "--root", str(root)]) == 0
    out = root / "assets" / "toy"
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    assert set(first) == {f"{name}.{suffix}" for name in names for suffix in ("png", "svg")}
    assert str(out / names[0]) in capsys.readouterr().out.splitlines()[-1]
    shutil.rmtree(out)
    # The pipeline names the default variants; that is no other figure.
    assert script.main(["--family", "toy", "--root", str(root), "--variants", ",".join(VARIANTS)]) == 0
    assert {path.name: path.read_bytes() for path in out.iterdir()} == first
    width = imread(out / f"{names[0]}.png").shape[1]
    assert width == 200 * style.WIDTH
    svg = first[f"{names[0]}.svg"].decode()
    assert "made-up curves for the tests" in svg
    assert f"uv run viz/{named(script)}.py --family toy" in svg
    assert str(root) not in svg
    assert "dc:date" not in svg


def test_the_nine_targets_are_drawn(made):
    assert load(made)[0].languages == list(TARGETS)
    assert len(TARGETS) == 9


# What is drawn


def lines(ax, label: str) -> list:
    return [line for line in ax.get_lines() if line.get_label() == label]


def bands(ax, label: str) -> list[np.ndarray]:
    """Per band (n_states, 2): its lower and upper edge, read off the polygon."""
    result = []
    for collection in ax.collections:
        if collection.get_label() == label:
            points = collection.get_paths()[0].vertices
            edges = [points[points[:, 0] == x, 1] for x in np.unique(points[:, 0])]
            result.append(np.array([(y.min(), y.max()) for y in edges]))
    return result


def rows(table: pd.DataFrame, variant: str, language: str, metric: str, stimuli="parallel") -> pd.DataFrame:
    return table.query(
        "variant == @variant and language == @language and metric == @metric and stimuli == @stimuli "
        "and position == 'mean'"
    )


def check_panel(ax, language: str, metric: str, stimuli: str = "parallel") -> None:
    table = summary(9)
    for variant, interval, null in zip(VARIANTS, bands(ax, "interval"), bands(ax, "null"), strict=True):
        expected = rows(table, variant, language, metric, stimuli)
        (line,) = lines(ax, variant)
        np.testing.assert_allclose(line.get_ydata(), expected.value)
        np.testing.assert_array_equal(line.get_xdata(), np.arange(9))
        np.testing.assert_allclose(interval, expected[["ci_low", "ci_high"]])
        np.testing.assert_allclose(null, expected[["null_low", "null_high"]])


def test_the_three_panels_show_the_summary(all_figures):
    axes = all_figures["three"].axes
    for ax, language in zip(axes, ("sw", "hi", "am"), strict=True):
        check_panel(ax, language, PRIMARY_METRIC)
        assert ax.get_ylim() == axes[0].get_ylim()
    assert [ax.get_title("left") for ax in axes] == [
        "Swahili (sw): emphasised by Earth",
        "Hindi (hi): emphasised by Fire",
        "Amharic (am): emphasised by Earth",
    ]


def test_the_average_shows_raw_and_primary_with_the_mismatched_level(all_figures):
    raw, primary = all_figures["average"].axes
    check_panel(raw, "hi", "cosine")
    check_panel(primary, "hi", PRIMARY_METRIC)
    for variant, line in zip(VARIANTS, lines(raw, "mismatched"), strict=True):
        np.testing.assert_allclose(line.get_ydata(), rows(summary(9), variant, "hi", "cosine").null)
    assert raw.get_ylim() == primary.get_ylim()


def test_other_stimuli_are_drawn_when_asked_for(root):
    read, _, family = load(root, "--stimuli", "probes")
    figure = alignment_curves.average(read, family, "hi", PRIMARY_METRIC)
    check_panel(figure.axes[1], "hi", PRIMARY_METRIC, "probes")
    assert "n = 20 meanings" in note(figure)
    assert "--stimuli probes" in note(figure)


def test_the_annotated_curve_is_the_mean_over_the_languages_of_its_variant(all_figures):
    table = summary(9)
    for ax, variant, languages in zip(
        all_figures["annotated"].axes,
        ("fire", "earth"),
        (["hi", "bn", "ta"], ["sw", "am", "yo"]),
        strict=True,
    ):
        for i, name in enumerate(("base", "global", variant)):
            cells = [rows(table, name, language, PRIMARY_METRIC) for language in languages]
            mean = sum(cell.select_dtypes("number").to_numpy() for cell in cells) / 3
            mean = pd.DataFrame(mean, columns=cells[0].select_dtypes("number").columns)
            (line,) = lines(ax, name)
            np.testing.assert_allclose(line.get_ydata(), mean.value)
            np.testing.assert_allclose(bands(ax, "interval")[i], mean[["ci_low", "ci_high"]])
            np.testing.assert_allclose(bands(ax, "null")[i], mean[["null_low", "null_high"]])
        for language, cell in zip(languages, cells, strict=True):
            (line,) = lines(ax, language)
            np.testing.assert_allclose(line.get_ydata(), cell.value)


@pytest.mark.parametrize("stimuli", ["parallel", "probes"])
def test_rise_peak_and_fall_are_those_of_the_peaks_table(made, stimuli):
    """Not read off the curves, whose states differ: the table once said 3 and 4, the figure 4."""
    figure = annotated(made, *(() if stimuli == "parallel" else ("--stimuli", stimuli)))
    table = peaks().query("stimuli == @stimuli and metric == @PRIMARY_METRIC")
    for ax, variant in zip(figure.axes, ("fire", "earth"), strict=True):
        told = [text.get_text() for text in ax.get_legend().get_texts()]
        for language, words in zip(ax.get_title("left").split(": ")[1].split(", "), told, strict=True):
            code = language[-3:-1]
            row = table[(table.variant == variant) & (table.language == code)].iloc[0]
            rise = "no rise" if pd.isna(row.rise_start) else f"rise {row.rise_start}"
            fall = "no fall" if pd.isna(row.fall_start) else f"fall −{-row.fall:.2f}"
            assert words == f"{code}: {rise}, peak {row.peak:.2f} at {row.peak_state}, {fall}"
        stars = {int(line.get_xdata()[0]) for line in lines(ax, "peak_state")}
        own = table[(table.variant == variant) & table.language.isin([words[:2] for words in told])]
        assert stars == set(own.peak_state)


def test_the_interval_of_a_state_is_told_where_it_holds_another_state():
    peak = dict.fromkeys(("peak_state", "peak_state_ci_low", "peak_state_ci_high", "fall_start"), 5)
    peak |= {"rise_start": 3, "rise_start_ci_low": 1, "rise_start_ci_high": None}
    peak |= {"peak": 0.4, "fall": -0.1, "blocked": None}
    assert annotated_curve.describe(peak) == "rise 3 [1, never], peak 0.40 at 5, fall −0.10"
    assert annotated_curve.describe(peak | {"blocked": "a_peak/mean"}) == "blocked: a_peak/mean"


def held_by_hand(curve) -> float:
    return max(min(curve[start : start + 3]) for start in range(len(curve) - 2))


def test_the_heat_map_shows_levels_and_commitments(all_figures, made):
    of, matrix = concept_curves(9), pd.read_csv(made / "results" / "toy" / "commitment_matrix.csv")
    languages = ["hi", "bn", "ta", "sw", "am", "yo", "fr", "es", "ar"]
    for ax, variant in zip(all_figures["heatmap"].axes, VARIANTS, strict=False):
        shown = ax.collections[0].get_array()
        marks = {(t.get_position()[1] - 0.5, t.get_position()[0] - 0.5): t.get_text() for t in ax.texts}
        expected = {}
        for (row, concept), (column, language) in itertools.product(
            enumerate(of[variant]), enumerate(languages)
        ):
            assert shown[row, column] == pytest.approx(held_by_hand(of[variant][concept][language]))
            cell = matrix.query("concept_id == @concept and language == @language")[f"{variant}_layer"].item()
            if not np.isnan(cell):
                expected[row, column] = f"{cell:.0f}"
        assert marks == expected
        assert ax.get_title("left").endswith(f"committed {len(expected)} of 180")
        null = rows(summary(9), variant, "hi", "cosine").null.to_numpy()
        assert shown[21, 0] == pytest.approx(held_by_hand(null))
        assert shown.mask[20].all()
    assert 0 < matrix.earth_layer.notna().sum() < 180
    assert "threshold 0.85" in all_figures["heatmap"].axes[-1].get_xlabel()


def test_a_heat_map_without_a_summary_says_that_nothing_is_known_of_mismatched_pairs(root):
    (root / "results" / "toy" / "alignment_summary.csv").unlink()
    args = cli.parser("").parse_args(["--family", "toy", "--root", str(root)])
    paths, family, _ = cli.context(args)
    figure = heatmap.draw(held.load(args, paths, family), family)
    assert figure.axes[0].get_ylim() == (20, 0)  # no row beside the concepts'
    assert "Mismatched pairs: not measured" in note(figure)


def test_a_variant_has_one_colour_everywhere(all_figures, root):
    for name in ("three", "average", "annotated"):
        for ax in all_figures[name].axes:
            for variant in VARIANTS:
                for line in lines(ax, variant):
                    assert to_hex(line.get_color()).upper() == style.LOOKS[variant].colour
    (ax, *_) = figures(root, "--variants", "earth")["three"].axes
    assert to_hex(lines(ax, "earth")[0].get_color()).upper() == style.LOOKS["earth"].colour
    looks = style.looks(load(root)[2])
    assert len({(look.colour, look.marker) for look in looks.values()}) == len(looks) == 7


# What the auditor blocks


def write_audit(root, *found: tuple[str, str, dict]) -> None:
    """found: (id, severity, where) of each finding."""
    made = [
        Finding(
            id=name, severity=severity, languages=[], variants=[], evidence={"sentence": name},
            blocks=[Claim(where=where, text=name)],
        )
        for name, severity, where in found
    ]  # fmt: skip
    content = {"findings": [finding.model_dump() for finding in made]}
    files.write_json(root / "results" / "toy" / findings.JSON, content, {})


def note(figure) -> str:
    return figure.texts[0].get_text().replace("\n", " ")


def legend_texts(figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


FIRE_EARLY = {"variant": ["fire"], "language": ["hi"], "metric": [PRIMARY_METRIC], "position": ["mean"]}


def test_exactly_the_blocked_states_have_open_markers(root):
    write_audit(
        root,
        ("early/parallel", "high", FIRE_EARLY | {"state": [0, 1, 4], "claim": ["level"]}),
        ("warning", "low", {"state": [7]}),
        ("elsewhere", "high", {"stimuli": ["probes"]}),
        ("an_effect", "high", {"claim": ["effect"]}),
    )
    drawn = figures(root)
    for ax, language in zip(drawn["three"].axes, ("sw", "hi", "am"), strict=True):
        for variant in VARIANTS:
            expected = rows(summary(9), variant, language, PRIMARY_METRIC).value.to_numpy()
            at = [0, 1, 4] if (variant, language) == ("fire", "hi") else []
            (line,) = lines(ax, variant)
            assert np.flatnonzero(np.isnan(line.get_ydata())).tolist() == at
            np.testing.assert_allclose(np.delete(line.get_ydata(), at), np.delete(expected, at))
            hollow = lines(ax, f"blocked {variant}")
            assert len(hollow) == bool(at)
            for marks in hollow:
                assert marks.get_xdata().tolist() == at
                np.testing.assert_allclose(marks.get_ydata(), expected[at])
                assert marks.get_markerfacecolor() == "white"
    assert "3 of 108 points drawn (early 3)" in note(drawn["three"])
    assert "3 of 72 points drawn (early 3)" in note(drawn["average"])
    assert "blocks none of the 108 points drawn" in note(drawn["three raw"])
    assert "no claim" in legend_texts(drawn["three"])
    assert "no claim" not in legend_texts(drawn["three raw"])
    for figure in drawn.values():
        assert_legible(figure)


def test_a_judged_table_is_believed_before_the_findings(root):
    """Of a row with a verdict nobody else judges: one that is for comparison only is no claim either."""
    write_audit(root, ("early/parallel", "high", FIRE_EARLY))
    path = root / "results" / "toy" / "alignment_summary.csv"
    table = pd.read_csv(path).assign(verdict="matched", reason="")
    table.loc[(table.variant == "base") & (table.state == 3), ["verdict", "reason"]] = [
        "descriptive",
        "control",
    ]
    table.loc[(table.variant == "earth") & (table.state == 4), ["verdict", "reason"]] = [
        "blocked",
        "rule/level",
    ]
    table.to_csv(path, index=False)
    for ax in figures(root)["three"].axes:
        shown = {v: [line.get_xdata().tolist() for line in lines(ax, f"blocked {v}")] for v in VARIANTS}
        assert shown == {"base": [[3]], "global": [], "fire": [], "earth": [[4]]}


def test_a_mean_is_blocked_where_one_of_its_languages_is_and_a_blocked_peak_is_not_told(root):
    write_audit(
        root,
        ("taken/away", "medium", FIRE_EARLY | {"state": [2], "claim": ["level"]}),
        ("a_peak", "high", {"variant": ["fire"], "language": ["bn"], "claim": ["peak"]}),
    )
    fire, earth = annotated(root).axes
    assert lines(fire, "blocked fire")[0].get_xdata().tolist() == [2]
    assert lines(fire, "blocked hi")[0].get_xdata().tolist() == [2]
    assert not lines(fire, "blocked bn")
    told = [[text.get_text() for text in ax.get_legend().get_texts()] for ax in (fire, earth)]
    assert told[0][1] == "bn: blocked: a_peak"
    assert not any("blocked" in words for words in (told[0][0], told[0][2], *told[1]))
    assert [len(lines(ax, "peak_state")) for ax in (fire, earth)] == [2, 3]


def struck(ax) -> set[tuple[int, int]]:
    """(row, column) of the cells that are struck through."""
    return {(int(line.get_ydata()[0]), int(line.get_xdata()[0])) for line in lines(ax, "struck")}


def test_blocked_commitments_are_struck_through(root):
    matrix = pd.read_csv(root / "results" / "toy" / "commitment_matrix.csv")
    state = int(matrix.query("language == 'yo'").earth_layer.min())
    at = {"variant": ["earth"], "language": ["yo"], "state": [state], "stimuli": ["probes"]}
    write_audit(
        root,
        ("raw/probes", "high", at | {"metric": ["cosine"], "position": ["mean"], "claim": ["level"]}),
        ("of_primary", "high", {"metric": [PRIMARY_METRIC]}),
        ("of_last", "high", {"position": ["last"]}),
    )
    _, levels, family = load(root)
    figure = heatmap.draw(levels, family)
    expected = {
        (i, 5) for i, layer in enumerate(matrix.query("language == 'yo'").earth_layer) if layer == state
    }
    for ax, variant in zip(figure.axes, VARIANTS, strict=False):
        found = expected if variant == "earth" else set()
        assert struck(ax) == found
        count = matrix[f"{variant}_layer"].notna().sum()
        title = " ".join(ax.get_title("left").split())
        assert title.endswith(f"committed {count} ({len(found)} blocked) of 180")
    assert 0 < len(expected) < matrix.earth_layer.notna().sum()
    assert f"(raw {len(expected)})" in note(figure)
    assert_legible(figure)


def write_calibrated(root) -> pd.DataFrame:
    """The matrix with both criteria, of two kinds; French was not measured. Returns the probes'."""
    folder = root / "results" / "toy"
    matrix = pd.read_csv(folder / "commitment_matrix.csv")
    matrix.insert(0, "stimuli", "probes")
    for i, variant in enumerate(VARIANTS):
        states = [(row * 7 + i) % 11 for row in range(len(matrix))]
        cells = pd.Series(states).where(pd.Series(states) < 6).where(matrix.language != "fr")
        matrix[f"{variant}_calibrated"] = cells.astype("Int64")
    other = matrix.head(9).assign(stimuli="parallel", concept_id="p01", concept="The nurse slept.")
    pd.concat([matrix, other]).to_csv(folder / "commitment_matrix.csv", index=False)
    rows = [
        {"criterion": "calibrated", "variant": variant, "language": language, "stimuli": kind, "n": n}
        | {"position": "mean", "metric": PRIMARY_METRIC, "threshold": share, "consecutive": run}
        | {"committed": 1, "fraction": 0.1 * i + share / 2, "ci_low": 0.0, "ci_high": 1.0, "rivals": 219}
        | {"required": share, "chance": 0.01 * i + run / 100, "censored_median": None}
        for i, variant in enumerate(VARIANTS)
        for language in TARGETS
        for kind, n in (("probes", 20), ("parallel", 200))
        for share, run in ((0.95, 2), (0.95, 3), (0.99, 3))
        if (kind, language) != ("probes", "fr")
    ]
    pd.DataFrame(rows).to_csv(folder / "commitment_sensitivity.csv", index=False)
    return matrix


def test_the_heat_map_leads_with_the_calibrated_commitment_and_says_what_the_cosine_does(root):
    matrix = write_calibrated(root)
    state = matrix.loc[matrix.language == "hi", "fire_calibrated"].dropna().iloc[0]
    at = {"variant": ["fire"], "language": ["hi"], "state": [int(state)], "stimuli": ["probes"]}
    at |= {"position": ["mean"], "claim": ["level"]}
    primary, raw = ({"metric": [metric]} for metric in (PRIMARY_METRIC, "cosine"))
    write_audit(root, ("own/probes", "high", at | primary), ("other", "high", {**raw}))
    _, levels, family = load(root)
    figure, languages = heatmap.draw(levels, family), ["hi", "bn", "ta", "sw", "am", "yo", "fr", "es", "ar"]
    for i, (ax, variant) in enumerate(zip(figure.axes, VARIANTS, strict=False)):
        cells = matrix.pivot(index="concept_id", columns="language", values=f"{variant}_calibrated")[
            languages
        ]
        shown = ax.collections[0].get_array()
        lit = cells.notna().to_numpy().astype(float)
        measured = [place for place, language in enumerate(languages) if language != "fr"]
        assert (shown[:20, measured].data == lit[:, measured]).all()
        assert shown.mask[:20, 6].all()
        texts = sorted(text.get_text() for text in ax.texts)
        assert texts == sorted(str(cell) for cell in cells.to_numpy().ravel() if not pd.isna(cell))
        (dots,) = (each for each in ax.collections if each.get_label() == "cosine")
        by_cosine = int(matrix[f"{variant}_layer"].notna().sum())
        assert len(dots.get_offsets()) == by_cosine
        assert [label.get_text() for label in figure.axes[0].get_yticklabels()][-2:] == [
            "parallel (200)", "permuted pairs",
        ]  # fmt: skip
        assert shown[21, 0] == pytest.approx(0.1 * i + 0.475)
        assert shown[22, 0] == pytest.approx(0.01 * i + 0.03)
        assert shown.mask[22, 6]
        taken = int((cells["hi"] == state).sum()) if variant == "fire" else 0
        title = " ".join(ax.get_title("left").split())
        assert title.endswith(f"committed {int(lit.sum())} ({taken} blocked) of 180 by cosine {by_cosine}")
        assert len(struck(ax)) == taken
    assert "95%" in note(figure)
    assert_legible(figure)


def test_a_heat_map_by_cosine_says_that_the_calibrated_was_not_measured(all_figures):
    assert "Calibrated commitment: not measured" in note(all_figures["heatmap"])


def test_a_calibrated_matrix_without_its_chance_is_told(root, capsys):
    write_calibrated(root)
    (root / "results" / "toy" / "commitment_sensitivity.csv").unlink()
    assert "commitment_sensitivity.csv is missing" in fails(heatmap, root, capsys)


def test_without_an_audit_the_figures_say_so(all_figures, made):
    for figure in (*all_figures.values(), robust(made)[0]):
        assert "Not audited." in note(figure)


@pytest.mark.parametrize("content", ["", "[]", '{"findings": [{"id": "x"}]}', '{"findings": null}'])
@pytest.mark.parametrize("script", SCRIPTS, ids=named)
def test_a_damaged_audit(script, content, root, capsys):
    (root / "results" / "toy" / "artifact_audit.json").write_text(content)
    assert COMMAND in fails(script, root, capsys)


# Robustness


def robust(root, *options: str):
    """(figure, table drawn)"""
    args, paths, family = asked(root, *options)
    audit = blocked.load(paths, family)
    table, _, languages = robustness.load(args, paths, family, audit)
    return robustness.draw(table, family, audit, "the command", languages), table


@pytest.mark.parametrize("stimuli", ["parallel", "probes"])
def test_the_robustness_cells_are_the_table(made, stimuli):
    figure, _ = robust(made, *(() if stimuli == "parallel" else ("--stimuli", stimuli)))
    grids = list(itertools.product(("simple", "did"), ("fire", "earth")))
    for ax, (contrast, variant) in zip(figure.axes, grids, strict=False):
        table = effects().query("stimuli == @stimuli")
        table = table[(table.contrast == contrast) & (table.variant == variant)]
        shown = ax.collections[0].get_array()
        texts = {(int(t.get_position()[1]), int(t.get_position()[0])): t.get_text() for t in ax.texts}
        for y, x in itertools.product(range(2), range(3)):
            cell = table[(table.position == ("last", "mean")[y]) & (table.metric == (*METRICS, "mexa")[x])]
            assert bool(shown.mask[y, x]) == cell.empty
            if cell.empty:
                continue
            row = cell.iloc[0]
            expected = min(max(2 * row.value / (row.ci_high - row.ci_low), -6), 6)
            assert shown[y, x] == pytest.approx(expected)
            number = f"{row.value:+.2f}".replace("-", "−")
            assert texts.pop((y, x), None) == (number if row.verdict == "stands" else None)
        assert not texts
        assert {patch.get_xy() for patch in ax.patches if patch.get_label() == "primary"} == {(1, 1)}
        assert not struck(ax)
    assert f"n = {200 if stimuli == 'parallel' else 20} meanings" in note(figure)
    assert_legible(figure)


def test_an_interval_without_width_is_no_lack_of_effect():
    table = pd.DataFrame({"value": [0.5, -0.5, 0.0], "ci_low": [0.5, -0.5, 0.0], "ci_high": [0.5, -0.5, 0.0]})
    assert robustness.strength(table).tolist() == [np.inf, -np.inf, 0]


def test_blocked_effects_are_struck_through_where_there_is_a_number(root):
    path = root / "results" / "toy" / "robustness.csv"
    table = pd.read_csv(path)
    at = (table.variant == "fire") & (table.position == "last") & (table.metric == "cosine")
    table.loc[at, ["verdict", "reason"]] = ["blocked", "of_fire/last"]
    table.to_csv(path, index=False)
    write_audit(root)
    figure, drawn = robust(root)
    assert [struck(ax) for ax in figure.axes[:4]] == [{(0, 0)}, set(), {(0, 0)}, set()]
    assert "2 of 20 effects (of_fire 2)" in note(figure)
    assert drawn.blocked.notna().sum() == 2
    assert 0 < (~drawn.significant).sum() < 20


def test_what_robustness_was_not_measured(root, capsys):
    assert "no stimuli 'flores', only probes, parallel" in fails(
        robustness, root, capsys, "--stimuli", "flores"
    )
    assert "no variant 'base', only fire, earth" in fails(robustness, root, capsys, "--variants", "base")
    path = root / "results" / "toy" / "robustness.csv"
    path.write_text(path.read_text().splitlines(keepends=True)[0])
    assert "no finding" in fails(robustness, root, capsys)


# Stimuli that are not told in every language


@pytest.fixture
def without_yoruba(root):
    """Beside the others `tico`, as many meanings as the larger of them, in eight languages."""
    folder = root / "results" / "toy"
    for name in ("alignment_summary", "peaks", "robustness"):
        table = pd.read_csv(folder / f"{name}.csv")
        tico = table.query("stimuli == 'parallel'").assign(stimuli="tico")
        tico = tico[tico.language != "yo"] if "language" in tico else tico
        pd.concat([tico, table]).to_csv(folder / f"{name}.csv", index=False)
    return root


def test_stimuli_in_all_languages_go_before_others_and_then_the_larger(without_yoruba):
    read, _, _ = load(without_yoruba)
    assert (read.stimuli, read.languages) == ("parallel", list(TARGETS))
    path = without_yoruba / "results" / "toy" / "alignment_summary.csv"
    table = pd.read_csv(path)
    table[table.stimuli != "parallel"].to_csv(path, index=False)
    assert load(without_yoruba)[0].stimuli == "tico"  # rather than the few probes
    table.loc[table.stimuli == "parallel", ["stimuli", "n"]] = ["flores", 50]
    table.to_csv(path, index=False)
    assert load(without_yoruba)[0].stimuli == "flores"


@pytest.mark.parametrize("script", [alignment_curves, annotated_curve, robustness], ids=named)
def test_a_language_that_the_stimuli_are_not_told_in_is_not_drawn(script, without_yoruba, monkeypatch):
    monkeypatch.setattr(curves, "TARGETS", ("hi", "bn", "ta", "sw", "yo"))
    assert script.main(["--family", "toy", "--root", str(without_yoruba), "--stimuli", "tico"]) == 0
    out = without_yoruba / "assets" / "toy"
    assert not (out / "alignment_curve_avg_yo.svg").exists()
    assert not any("Yoruba" in path.read_text() for path in out.glob("*.svg"))
    assert any("Swahili" in path.read_text() for path in out.glob("*.svg"))


def test_a_variant_none_of_whose_languages_is_told_has_no_panel(without_yoruba):
    path = without_yoruba / "results" / "toy" / "alignment_summary.csv"
    table = pd.read_csv(path)
    table[(table.stimuli != "tico") | table.language.isin(["hi", "bn"])].to_csv(path, index=False)
    args, paths, family = asked(without_yoruba, "--stimuli", "tico")
    _, panels = annotated_curve.load(args, paths, family)
    assert [(panel.variant, list(panel.singles)) for panel in panels] == [("fire", ["hi", "bn"])]
    read, _, _ = load(without_yoruba, "--stimuli", "tico")
    assert alignment_curves.glance(read) == ["hi"]


# What a reader can read


def texts_shown(figure) -> list:
    """Every text that is drawn: tick labels only where the tick is within the axis."""
    shown = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for ax in figure.axes:
        shown += ax.get_legend().get_texts() if ax.get_legend() else []
        shown += [*ax.texts, ax._left_title, ax.title, ax.xaxis.label, ax.yaxis.label]
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            shown += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    return [text for text in shown if text.get_visible() and text.get_text().strip()]


def assert_legible(figure) -> None:
    figure.draw_without_rendering()
    shown = [(text, text.get_window_extent()) for text in texts_shown(figure)]
    canvas = figure.bbox
    for text, box in shown:
        assert text.get_fontsize() >= 9, text
        assert canvas.x0 <= box.x0 < box.x1 <= canvas.x1, f"cut off: {text}"
        assert canvas.y0 <= box.y0 < box.y1 <= canvas.y1, f"cut off: {text}"
    for (one, a), (other, b) in itertools.combinations(shown, 2):
        apart = a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 or b.y1 <= a.y0
        assert apart, f"{one} overlaps {other}"


@pytest.mark.parametrize("name", ["three", "three raw", "average", "annotated", "heatmap"])
def test_no_text_is_cut_off_or_overlaps(all_figures, name):
    assert_legible(all_figures[name])


@pytest.mark.parametrize("variants", ["base,global,fire,earth,water,mine", "fire"])
def test_nor_with_37_states_and_more_or_fewer_variants(tmp_path, variants):
    root = make_root(tmp_path, 37, variants.split(","))
    for figure in figures(root, "--variants", variants).values():
        assert_legible(figure)


def test_the_words_on_rise_and_peak_stay_above_the_curves(all_figures):
    figure = all_figures["annotated"]
    figure.draw_without_rendering()
    for ax in figure.axes:
        top = max(line.get_ydata().max() for line in ax.get_lines())
        assert ax.get_legend().get_window_extent().y0 > ax.transData.transform((0, top))[1]


# What goes wrong


def fails(script, root, capsys, *options: str) -> str:
    """The one line that the script ends with; nothing is written."""
    assert script.main(["--family", "toy", "--root", str(root), *options]) == 1
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1
    assert not (root / "assets").exists()
    return error


COMMAND = "uv run concept_alignment.py --family toy"
CURVES = (alignment_curves, annotated_curve)
TABLES = [
    (alignment_curves, "alignment_summary"),
    (annotated_curve, "peaks"),
    (heatmap, "commitment_matrix"),
    (robustness, "robustness"),
]


@pytest.mark.parametrize("script", SCRIPTS, ids=named)
def test_missing_results(script, root, capsys):
    shutil.rmtree(root / "results")
    assert COMMAND in fails(script, root, capsys)


@pytest.mark.parametrize("damage", [slice(-14), slice(1)], ids=["states", "rows"])
def test_a_summary_that_is_whole_but_lacks_rows(damage, root, capsys):
    path = root / "results" / "toy" / "alignment_summary.csv"
    table = pd.read_csv(path)
    kept = table[table.stimuli == "parallel"].to_csv(index=False).splitlines(keepends=True)[damage]
    path.write_text("".join(kept))
    assert COMMAND in fails(alignment_curves, root, capsys, "--position", "last")


@pytest.mark.parametrize(("script", "name"), TABLES)
def test_a_damaged_table(script, name, root, capsys):
    path = root / "results" / "toy" / f"{name}.csv"
    path.write_text(path.read_text().rpartition(",")[0])
    assert COMMAND in fails(script, root, capsys)


@pytest.mark.parametrize("script", CURVES, ids=named)
@pytest.mark.parametrize(
    ("options", "there"),
    [
        (("--stimuli", "flores"), "only probes, parallel"),
        (("--position", "focus"), "only mean, last"),
        (("--variants", "base,water"), "only base, global, fire, earth"),
    ],
)
def test_what_was_not_measured_is_named_with_what_was(script, options, there, root, capsys):
    error = fails(script, root, capsys, *options)
    assert options[1].split(",")[-1] in error
    assert there in error


def test_a_metric_that_is_not_there(root, capsys):
    error = fails(alignment_curves, root, capsys, "--metric", "mexa")
    assert f"no metric 'mexa', only {PRIMARY_METRIC}, cosine" in error


def test_a_variant_that_emphasises_nothing_cannot_be_annotated(root, capsys):
    error = fails(annotated_curve, root, capsys, "--variants", "base,global")
    assert "emphasised by base, global, only by fire, earth, water" in error


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("commitment_matrix.csv", lambda text: text.splitlines(keepends=True)[0]),
        ("commitment_matrix.csv", lambda text: text.rpartition("C20")[0]),
        ("commitment_matrix.csv", lambda text: text.replace("C01,", "C77,")),
        ("commitment_matrix.csv", lambda text: text.replace(",,,,", ",0,0,0,0").replace(",,,", ",0,0,0")),
        ("alignment_curves.json", lambda text: text.replace('"threshold"', '"other"')),
        ("alignment_curves.json", lambda text: text.replace('"earth"', '"late"')),
        ("alignment_summary.csv", lambda text: text.replace("probes", "flores")),
    ],
)
def test_a_damaged_input_of_the_heat_map(name, damage, root, capsys):
    path = root / "results" / "toy" / name
    before = path.read_text()
    path.write_text(damage(before))
    assert path.read_text() != before
    assert COMMAND in fails(heatmap, root, capsys)


def test_a_variant_absent_from_the_matrix_has_no_panel(root):
    path = root / "results" / "toy" / "commitment_matrix.csv"
    pd.read_csv(path).drop(columns="global_layer").to_csv(path, index=False)
    _, levels, family = load(root)
    titles = [ax.get_title("left").split("\n")[0] for ax in heatmap.draw(levels, family).axes]
    assert titles == ["Base", "Fire", "Earth", ""]  # the last is the colour bar
