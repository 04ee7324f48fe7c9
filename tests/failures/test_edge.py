"""Edge cases in a world where what they cost is known: references in several languages, planted losses."""

import zlib
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest

from probe.activations.store import ActivationStore
from probe.errors import ProbeError
from probe.failures import edge, evidence
from probe.stimuli.manifest import GENERATED, WRITTEN, EdgeCase, Manifest, ParallelSentence, Stimulus
from probe.tables import EVERY

N_STATES, D_MODEL = 9, 128
CATEGORIES = ("code_switching", "transliteration", "formal_register")
LANGUAGES = ("hi", "sw")
KEYS = ["variant", "failure_category", "source", "languages", "contrast"]


def spelled(number: int) -> str:
    """Digits are no words, and words must not be shared."""
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))


def written(number: int, category: str, references: tuple[str, ...]) -> list[EdgeCase]:
    name, own = f"W{number}", f"written{category.replace('_', '')}{spelled(number)}"
    shared = {"reference_id": name, "failure_category": category, "groups": {"case": name}}
    told = [(f"{name}_clean", "hi", "clean"), *((f"{name}_{code}", code, "reference") for code in references)]
    leads = {"clean_id": f"{name}_clean", "reference_ids": [f"{name}_{code}" for code in references]}
    first = {"stimulus_id": name, "language": "hi", "text": f"{own}input", "role": "input"}
    rest = [{"stimulus_id": i, "language": of, "role": r, "text": f"{own}{r}{of}"} for i, of, r in told]
    return [EdgeCase.model_validate(one | shared) for one in (first | leads, *rest)]


def generated(number: int, category: str, language: str, references: tuple[str, ...]) -> EdgeCase:
    """Its clean form and its references are sentences of the parallel corpus."""
    return EdgeCase(
        stimulus_id=f"edge_{category}_{number}",
        language=language,
        text=f"generated{category.replace('_', '')}{spelled(number)}",
        groups={"meaning": str(number), "word": str(number % 10)},
        reference_id=f"{category}-{number}",
        failure_category=category,
        role="input",
        source=GENERATED,
        clean_id=f"parallel_{language}_{number}",
        reference_ids=[f"parallel_{code}_{number}" for code in references],
    )


def manifest(per_language: int = 20, per_category: int = 6) -> Manifest:
    """Not every case has a reference in every language: even ones in ar and fr, odd ones in ar and es."""
    made: list[EdgeCase] = []
    for c, category in enumerate(CATEGORIES):
        for i in range(per_category):
            made += written(100 * c + i, category, ("ar", ("fr", "es")[i % 2]))
    both = range(per_language * len(LANGUAGES))
    for category in CATEGORIES[:2]:
        made += [
            generated(i, category, LANGUAGES[i // per_language], ("ar", ("fr", "es")[i % 2])) for i in both
        ]
    parallel = [
        ParallelSentence(
            stimulus_id=f"parallel_{code}_{i}",
            language=code,
            text=f"corpus{spelled(i)}{code}",
            meaning_id=str(i),
        )
        for code in (*LANGUAGES, "ar", "fr", "es")
        for i in both
    ]
    return Manifest(metadata={}, parallel=parallel, edge=made)


def drawn(*key: object) -> np.ndarray:
    """A direction for a name, the same wherever it is asked for."""
    return np.random.default_rng(zlib.crc32(repr(key).encode())).normal(size=D_MODEL)


class Planted(ActivationStore):
    """Every sentence is what it means, what its language is like, and noise. kept: (category, language) ->
    what an input keeps of its meaning; towards: what every input of a category is moved by."""

    def __init__(self, of: Manifest, variant: str, kept: Mapping = {}, towards: Mapping = {}) -> None:
        self.variant, self.kept, self.towards = variant, kept, towards
        self.stimuli = {s.stimulus_id: s for s in of}

    @property
    def n_states(self) -> int:
        return N_STATES

    def vector(self, stimulus: Stimulus) -> np.ndarray:
        share, moved = 1.0, np.zeros(D_MODEL)
        meaning = stimulus.meaning
        if isinstance(stimulus, EdgeCase) and stimulus.role == "input":
            share = self.kept.get((stimulus.failure_category, stimulus.language), 1.0)
            moved = self.towards.get(stimulus.failure_category, moved)
        if isinstance(stimulus, EdgeCase) and stimulus.source == GENERATED:
            meaning = str(stimulus.groups["meaning"])
        noise = drawn(self.variant, stimulus.stimulus_id) + drawn("own", stimulus.stimulus_id)
        return (
            share * drawn("meaning", meaning) + 3 * drawn("offset", stimulus.language) + 0.5 * noise + moved
        )

    def resid(self, position, ids, state=slice(None)):
        assert position == "mean"
        rows = np.array([self.vector(self.stimuli[name]) for name in ids], dtype=np.float32)
        return np.repeat(rows[:, None], self.n_states, axis=1)[:, state]


LOST = {
    "fire": {("transliteration", code): 0.2 for code in LANGUAGES},
    "earth": {("code_switching", code): 0.2 for code in LANGUAGES},
    "global": {},
    "base": {},
}


@pytest.fixture(scope="module")
def world() -> Manifest:
    return manifest()


@pytest.fixture(scope="module")
def stores(world) -> dict[str, Planted]:
    return {variant: Planted(world, variant, kept) for variant, kept in LOST.items()}


@pytest.fixture(scope="module")
def tables(world, stores) -> tuple[pd.DataFrame, pd.DataFrame]:
    return edge.edge_tables(stores, world, "base", [["hi"], ["sw", "am"]])


def test_planted_losses_are_found_in_the_right_variant_and_in_no_other(tables):
    rows = tables[1].set_index(KEYS)
    for source, languages in ((GENERATED, EVERY), (GENERATED, "hi"), (GENERATED, "sw am"), (WRITTEN, EVERY)):
        for category, loser in (("transliteration", "fire"), ("code_switching", "earth")):
            beyond = {
                variant: rows.loc[(variant, category, source, languages, "loss - base")]
                for variant in ("fire", "earth", "global")
            }
            lost = beyond.pop(loser)
            assert lost.q_value < 0.05
            assert lost.value > 0.3
            assert all(other.ci_high < lost.value / 2 for other in beyond.values())
            assert not any(other.significant for other in beyond.values())
            clean = rows.loc[(loser, category, source, languages, "clean")]
            assert lost.value == pytest.approx(0.8 * clean.value, abs=0.3)
            assert rows.loc[(loser, category, source, languages, "input - base")].ci_high < 0


def test_what_a_language_adds_to_all_of_its_sentences_is_no_closeness(world):
    """A switch that carries every input towards the references of a language, whatever they mean."""
    flattered = Planted(world, "base", towards={"code_switching": 2 * drawn("offset", "ar")})
    rows = edge.edge_tables({"base": flattered}, world, "base")[1].set_index(KEYS)
    loss = rows.loc[("base", "code_switching", GENERATED, EVERY, "loss")]
    assert abs(loss.value) < 0.05
    assert not loss.significant


def test_a_case_is_the_mean_over_its_references_each_against_others_of_its_language(world, stores, tables):
    by_case = tables[0]
    cases = edge.edge_cases(world)
    for place in (0, 7, 30, 70):
        case, found = cases[place], []
        for reference in case.references:
            rivals = [
                (other, own)
                for other in cases
                if other.input.source == case.input.source
                and (
                    case.input.source == WRITTEN
                    or other.input.failure_category == case.input.failure_category
                )
                and (case.input.source == WRITTEN or other.input.language == case.input.language)
                for own in other.references
                if own.language == reference.language
            ]
            cleans, references = [other.clean for other, _ in rivals], [own for _, own in rivals]
            closeness = evidence.centred_closeness(stores["base"], cleans, references)
            found.append(evidence.beyond_expected(closeness)[0][[other for other, _ in rivals].index(case)])
        row = by_case.query("variant == 'base' and contrast == 'clean' and test_id == @case.name")
        assert row.value.item() == pytest.approx(np.mean(found))
        assert row.language.item() == case.input.language


def test_centred_closeness_is_the_cosine_once_the_mean_of_each_side_is_gone(world, stores):
    sides = [[s for s in world.parallel if s.language == code][:7] for code in ("hi", "ar")]
    rows, columns = (np.array([stores["base"].vector(s) for s in side], dtype=np.float32) for side in sides)
    found = evidence.centred_closeness(stores["base"], *sides)
    for i, a in enumerate(rows - rows.mean(axis=0)):
        for j, b in enumerate(columns - columns.mean(axis=0)):
            assert found[i, j] == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-5)


def test_cases_are_held_against_cases_of_their_source_and_reference_language(world):
    cases = edge.edge_cases(world)
    held = edge.blocks(cases)
    assert sum(len(block.cases) for block in held) == 2 * len(cases)
    for block in held:
        assert [cases[place] for place in block.places] == block.cases
        assert len({reference.language for reference in block.references}) == 1
        assert all(own in case.references for case, own in zip(block.cases, block.references, strict=True))
        (source,) = {case.input.source for case in block.cases}
        ways = {(case.input.failure_category, case.input.language) for case in block.cases}
        assert len(ways) == 1 or source == WRITTEN


def test_categories_are_means_of_their_cases_by_source_and_language(tables):
    by_case, by_category = tables
    by_case = by_case.set_index(["variant", "contrast", "failure_category", "source"]).sort_index()
    for row in by_category[by_category.failure_category != EVERY].to_dict("records"):
        if row["contrast"].startswith("input"):
            continue
        own = by_case.loc[(row["variant"], row["contrast"], row["failure_category"], row["source"])]
        if row["languages"] != EVERY:
            own = own[own.language.isin(row["languages"].split())]
        assert row["n"] == len(own)
        assert row["value"] == pytest.approx(own.value.mean())
    values = by_category.set_index(KEYS).value.unstack()
    inputs = values["input"]
    np.testing.assert_allclose(inputs, values["clean"] - values["loss"], atol=1e-12)
    fire, base = (inputs.xs(name, level="variant") for name in ("fire", "base"))
    beyond = values["input - base"].xs("fire", level="variant")
    np.testing.assert_allclose(beyond, (fire - base)[beyond.index], atol=1e-12)
    few = by_category[(by_category.source == WRITTEN) & (by_category.languages == "sw am")]
    assert few.empty  # every written case here is in Hindi


def test_an_interval_knows_that_generated_cases_share_words():
    """Five words, of each of which ten cases: what a word costs is what varies."""
    n = 50
    cost = np.repeat(np.random.default_rng(0).normal(size=5), n // 5)
    cost = cost + 0.1 * np.random.default_rng(1).normal(size=n)
    names = [f"case{i}" for i in range(n)]
    shared = {name: {"word": str(i // 10)} for i, name in enumerate(names)}
    rows = pd.DataFrame({"test_id": names, "language": "hi", "failure_category": "x", "variant": "base"})
    effects = pd.concat([rows.assign(contrast=c, value=cost) for c in ("clean", "loss")])
    width = {}
    for source in (WRITTEN, GENERATED):
        found = pd.DataFrame(edge._categories(effects.assign(source=source), shared, [()], "base"))
        own = found.query("contrast == 'loss' and failure_category == 'x'").iloc[0]
        width[source] = own.ci_high - own.ci_low
    assert width[GENERATED] > 2 * width[WRITTEN]


def test_q_values_are_within_a_source_its_languages_and_a_contrast(tables):
    for table in tables:
        assert (table.q_value >= table.p_value - 1e-12).all()
        assert (table.significant == (table.q_value < 0.05)).all()
    one = tables[1].query("source == 'generated' and languages == 'hi' and contrast == 'loss - base'")
    categories = one[one.failure_category != EVERY]
    np.testing.assert_allclose(
        categories.q_value, evidence.with_q_values(categories.drop(columns="q_value")).q_value
    )


def test_the_summary_names_what_was_told_from_zero_and_nothing_else(tables):
    line = edge.summary(tables[1])
    assert "transliteration in fire (generated, loss - base +0." in line
    assert "formal_register" not in line
    assert edge.summary(tables[1].assign(significant=False)).startswith("0 of 35 losses")


def test_the_sentences_that_are_needed_are_all_and_no_others(world):
    needed = {stimulus.stimulus_id for stimulus in edge.needed(world)}
    assert needed >= {s.stimulus_id for s in world.edge}
    assert "parallel_fr_0" in needed
    assert "parallel_es_0" not in needed  # an even meaning, whose references are in ar and fr


def test_too_few_or_incomplete_cases_are_refused_and_odd_ones_are_said(world, caplog):
    few = manifest(per_language=1, per_category=1)
    with pytest.raises(ProbeError, match="edge cases, 5 are needed with references in one language"):
        edge.edge_tables({"base": Planted(few, "base")}, few, "base")
    lacking = [s.model_copy(update={"clean_id": None}) for s in few.edge]
    with pytest.raises(ProbeError, match="has no clean form or no reference"):
        edge.edge_cases(Manifest(metadata={}, parallel=few.parallel, edge=lacking))
    alone = Manifest(
        metadata={}, parallel=world.parallel, edge=[*world.edge, *written(900, "transliteration", ("ta",))]
    )
    by_case, _ = edge.edge_tables({"base": Planted(alone, "base")}, alone, "base")
    assert "W900" not in set(by_case.test_id)
    assert "1 edge cases have too few others" in caplog.text
