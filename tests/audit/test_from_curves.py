"""Stage 3 --from-curves: the published curves' numbers, and those of a small file whose truth is planted."""

import json

import numpy as np
import pandas as pd
import pytest

from probe.alignment.commitment import commitment_layer
from probe.audit import findings
from probe.audit import reanalysis as published
from probe.audit.door import claimable
from probe.errors import ProbeError
from probe.paths import REPOSITORY

PUBLISHED = REPOSITORY.parent / "shared" / "reference" / "tiny_aya_published"
beside = pytest.mark.skipif(not PUBLISHED.exists(), reason="the published curves are not beside the project")
WRITTEN = {
    "commitment_matrix.csv",
    "commitment_sensitivity.csv",
    "variant_effects.csv",
    "peaks.csv",
    "artifact_audit.json",
    "artifact_audit.md",
    "reanalysis.json",
}


def main(*arguments):
    import concept_alignment

    return concept_alignment.main([str(argument) for argument in arguments])


# As published


@pytest.fixture(scope="module")
def replicated(tmp_path_factory):
    out = tmp_path_factory.mktemp("replicated")
    assert main("--from-curves", PUBLISHED / "alignment_curves.json", "--out", out) == 0
    return out


@beside
def test_the_540_published_commitments(replicated):
    published = pd.read_csv(PUBLISHED / "commitment_matrix.csv")
    mine = pd.read_csv(replicated / "commitment_matrix.csv")
    assert list(mine.columns) == list(published.columns)
    pd.testing.assert_frame_equal(mine.fillna(-1), published, check_dtype=False)


@beside
def test_state_0_is_constant_per_final_mark_in_all_variants_and_blocked(replicated):
    found = findings.read(replicated / "artifact_audit.json", "-")
    (constant,) = (finding for finding in found if finding.severity == "high")
    assert constant.variants == ["base", "fire", "earth"]
    assert len(constant.languages) == 9
    assert constant.evidence["per_final_mark"] == {
        "base": {"।": 0.508245, ".": 1.0, "።": 0.030957},
        "fire": {"।": 0.532828, ".": 1.0, "።": 0.06176},
        "earth": {"।": 0.544562, ".": 1.0, "።": 0.068513},
    }
    effects = pd.read_csv(replicated / "variant_effects.csv")
    assert (findings.blocking(effects, [constant]) == constant.id).sum() == 3 * 9
    assert (findings.blocking(effects, [constant]).notna() == (effects.state == 0)).all()
    assert (pd.read_csv(replicated / "peaks.csv").peak_state > 0).all()
    suspected = {finding.id: finding for finding in found}["last_state_may_be_post_norm"]
    assert findings.blocked({"variant": "base", "state": 36}, [suspected]) == suspected


@beside
def test_commitments_at_state_0_and_the_share_of_the_last_step(replicated):
    summary = json.loads((replicated / "reanalysis.json").read_text())
    counts = summary["commitments"]["base"]
    assert (counts["committed"], counts["at_state_0"], counts["cells"]) == (55, 54, 180)
    steps = summary["last_step_of_the_fall"]
    assert {variant: step["from_state"] for variant, step in steps.items()} == dict.fromkeys(steps, 30)
    assert {variant: round(step["share"], 2) for variant, step in steps.items()} == {
        "base": 0.55, "fire": 0.33, "earth": 0.27,
    }  # fmt: skip


@beside
def test_fire_and_earth_exceed_base_at_state_20_in_every_language(replicated):
    effects = pd.read_csv(replicated / "variant_effects.csv")
    at_20 = effects[(effects.state == 20) & (effects.variant_b == "base")].set_index(
        ["variant_a", "language"]
    )
    assert len(at_20) == 2 * 9
    assert (at_20.ci_low > 0).all()
    assert (at_20.q_value < 0.01).all()
    expected = {("fire", "fr"): 0.131, ("earth", "fr"): 0.137, ("fire", "es"): 0.125, ("earth", "es"): 0.132}
    assert {key: round(at_20.loc[key, "diff"], 3) for key in expected} == expected
    pairs = json.loads((replicated / "reanalysis.json").read_text())["effects_at_the_peak"]
    against_base = [pair for pair in pairs if pair["variant_b"] == "base"]
    assert [(pair["state"], pair["languages_above_0"]) for pair in against_base] == [(20, 9), (20, 9)]


# A small file with planted truth: two variants, three languages, six states, 24 concepts of no known study


def curves(n=24, gain=0.1, seed=0):
    """variant -> concept -> language -> curve; state 0 constant, peak at state 3, a fall to the last state.

    The variant "b" exceeds "a" by the gain at every state but 0, in "xx" alone.
    """
    rng = np.random.default_rng(seed)
    shape = np.array([0.0, 0.5, 0.6, 0.8, 0.7, 0.4])
    rows = np.clip(shape + rng.normal(0, 0.02, size=(3, n, 6)), -1, 0.95)
    rows[:, :, 0] = np.array([1.0, 1.0, 0.3])[:, None]
    own = rng.normal(0, 0.005, size=(2, 3, n, 6)) * (np.arange(6) > 0)
    effect = gain * np.outer([0, 1], [0, 0, 1])[:, :, None, None] * (np.arange(6) > 0)
    values = (rows + own + effect).round(6)
    return {
        variant: {
            f"K{i}": {language: values[v, k, i].tolist() for k, language in enumerate(("sw", "fr", "xx"))}
            for i in range(n)
        }
        for v, variant in enumerate(("a", "b"))
    }


def write(path, content):
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def planted(tmp_path):
    return write(tmp_path / "study.json", {"curves": curves()})


def test_writes_every_file_with_provenance_and_the_same_bytes_twice(planted, tmp_path):
    out = tmp_path / "out"
    assert main("--from-curves", planted, "--out", out) == 0
    written = {path.name: path.read_bytes() for path in out.iterdir()}
    tables = {name for name in WRITTEN if name.endswith(".csv")}
    assert set(written) == WRITTEN | {name.replace(".csv", ".meta.json") for name in tables}
    metadata = json.loads(written["peaks.meta.json"])
    assert metadata["inputs"].keys() == {"study.json"}
    assert str(tmp_path) not in "".join(content.decode() for content in written.values())
    assert main("--from-curves", planted, "--out", out) == 0
    assert {path.name: path.read_bytes() for path in out.iterdir()} == written


def test_finds_what_was_planted(planted, tmp_path, capsys):
    assert main("--from-curves", planted, "--out", tmp_path / "out", "--threshold", "0.7") == 0
    printed = capsys.readouterr().out
    out = tmp_path / "out"
    summary = json.loads((out / "reanalysis.json").read_text())
    assert (summary["concepts"], summary["states"], summary["languages"]) == (24, 6, ["sw", "fr", "xx"])
    assert summary["cannot_be_had"].keys() == published.CANNOT.keys()
    assert {
        "constant_over_concepts/probes/unknown/0",
        "last_state_may_be_post_norm",
        "no_null",
    } <= summary["findings"].keys()
    assert "one cosine for all concepts" in printed

    effects = pd.read_csv(out / "variant_effects.csv")
    assert not claimable(effects).any()
    assert set(effects.variant_a) == {"b"}
    assert set(effects.variant_b) == {"a"}
    found = effects[(effects.q_value < 0.01) & (effects.state > 0)]
    assert set(found.language) == {"xx"}
    assert len(found) == 5
    assert (found["diff"] - 0.1).abs().max() < 0.01

    peaks = pd.read_csv(out / "peaks.csv")
    assert set(peaks.peak_state) == {3}
    assert not claimable(peaks).any()
    assert set(peaks.language) == {"sw", "fr", "xx"}
    matrix = pd.read_csv(out / "commitment_matrix.csv")
    assert matrix.concept.equals(matrix.concept_id), "another study's concepts have no names of ours"
    raw = curves()
    for row in matrix.itertuples():
        expected = commitment_layer(raw["b"][row.concept_id][row.language], 0.7)
        assert row.b_layer == expected or (pd.isna(row.b_layer) and expected is None)
    sensitivity = pd.read_csv(out / "commitment_sensitivity.csv")
    assert set(zip(sensitivity.threshold, sensitivity.consecutive, strict=True)) == {
        (threshold, run) for threshold in (0.75, 0.85, 0.9) for run in (2, 3, 5)
    }
    assert set(sensitivity.start) == {0, 1}


def test_the_share_of_the_last_step_is_that_of_the_mean_curve(planted, tmp_path):
    loaded = published.load(planted)
    steps = published.last_steps(loaded)
    mean = np.array([list(by.values()) for by in curves()["a"].values()]).mean(axis=(0, 1))
    assert steps["a"]["from_state"] == 4
    assert steps["a"]["share"] == 1, "from state 4 of 6, the last step is all of the fall"
    rising = {
        v: {c: {lang: sorted(x) for lang, x in by.items()} for c, by in t.items()}
        for v, t in curves().items()
    }
    assert published.last_steps(published.load(write(tmp_path / "r.json", {"curves": rising}))) == {}
    normed = {v: {c: dict.fromkeys(by, 0.1) for c, by in t.items()} for v, t in curves().items()}
    with_norm = published.load(
        write(tmp_path / "n.json", {"curves": curves(), "post_norm": normed, "metadata": {}})
    )
    share = (mean[5] - 0.1) / (mean[4] - 0.1)
    assert published.last_steps(with_norm)["a"]["share"] == pytest.approx(share, abs=1e-5)


def test_a_norm_published_apart_clears_the_last_state_or_convicts_it(tmp_path):
    raw = curves()
    last = {v: {c: {lang: x[-1] for lang, x in by.items()} for c, by in t.items()} for v, t in raw.items()}
    lower = {
        v: {c: {lang: x - 0.2 for lang, x in by.items()} for c, by in t.items()} for v, t in last.items()
    }
    for post_norm, expected in ((last, True), (lower, False)):
        loaded = published.load(write(tmp_path / "c.json", {"curves": raw, "post_norm": post_norm}))
        found = {finding.id for finding in published.audited(loaded)}
        assert ("post_norm_state" in found) == expected
        assert "last_state_may_be_post_norm" not in found


def test_one_variant_has_no_effects_and_all_else(tmp_path):
    path = write(tmp_path / "one.json", {"curves": {"only": curves()["a"]}})
    published.reanalyse(path, tmp_path / "out", 0.85, 3)
    assert not (tmp_path / "out" / "variant_effects.csv").exists()
    assert len(pd.read_csv(tmp_path / "out" / "peaks.csv")) == 3


# Errors


def broken(change):
    content = {"curves": curves(n=3)}
    change(content)
    return content


def _set(*path_and_value):
    *path, last, value = path_and_value

    def change(content):
        for key in path:
            content = content[key]
        content[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("curves", {}), 'expected {"curves"'),
        (_set("curves", []), 'expected {"curves"'),
        (_set("curves", "a", []), "curves/a: expected a table"),
        (_set("curves", "b", {}), "curves/b: expected a table"),
        (_set("curves", "a", "K0", {}), "curves/a/K0: expected a table"),
        (_set("curves", "b", "K9", {}), "curves/b: K9: in one table and missing in another"),
        (_set("curves", "b", "K1", {"sw": [0.1, 0.2]}), "curves/b/K1: fr, xx"),
        (_set("curves", "a", "K1", "fr", [0.5] * 5), "a/K1/fr: 5 states, but 6 before"),
        (_set("curves", "a", "K1", "fr", 0.5), "a/K1/fr: expected a list"),
        (_set("curves", "a", "K1", "fr", []), "a/K1/fr: expected a list"),
        (_set("curves", "a", "K1", "fr", [[0.5] * 6]), "a/K1/fr: expected a list"),
        (_set("curves", "a", "K1", "fr", [0.5, "x"] * 3), "a/K1/fr: not numbers"),
        (_set("curves", "a", "K1", "fr", [0.5, None] * 3), "a/K1/fr: a value is not finite"),
        (_set("curves", "a", "K1", "fr", [0.5, float("nan")] * 3), "a/K1/fr: a value is not finite"),
        (_set("curves", "a", "K1", "fr", [0.5, 1.2] * 3), "no cosine"),
        (_set("post_norm", [1]), "post_norm: expected a table"),
        (_set("post_norm", {"a": {}}), "post_norm: b: in one table"),
        (_set("post_norm", {"a": {}, "b": {}}), "post_norm/a: expected a table"),
    ],
)
def test_malformed_curves_are_refused_naming_the_place(tmp_path, change, message):
    path = write(tmp_path / "broken.json", broken(change))
    with pytest.raises(ProbeError) as caught:
        published.load(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_run_is_one_line_and_status_1(planted, tmp_path, capsys):
    (tmp_path / "text.json").write_text("{")
    write(tmp_path / "one.json", {"curves": curves(n=1)})
    out = tmp_path / "out"
    for arguments, message in (
        (["--from-curves", tmp_path / "none.json", "--out", out], "no file"),
        (["--from-curves", tmp_path / "text.json", "--out", out], "no JSON"),
        (["--from-curves", tmp_path / "one.json", "--out", out], "one concept"),
        (["--from-curves", tmp_path, "--out", out], "directory"),
        (["--from-curves", planted], "belong together"),
        (["--out", out], "belong together"),
        (["--from-curves", planted, "--out", tmp_path], "holds the published files"),
        (["--from-curves", planted, "--out", out, "--threshold", "1.5"], "must lie in"),
    ):
        assert main(*arguments) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error:")
        assert message in line
    assert not out.exists()
