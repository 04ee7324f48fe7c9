"""Worlds of known truth: data in which a claim is false, and their twins in which it is true.

A world is a function (rng, n, effect) -> Data. With effect 0 what its `wrong` names must not be said; with an
effect, what its `right` names is true and should be. The generators take nothing from the code under test.

Where nothing else is said, sentence i in language l at state s is  share * m_i + sqrt(1 - share^2) * e_li +
noise * z_lis,  with m (one a meaning), e (one a meaning and language) and z (drawn at every state) standard
normal in d dimensions, and share 1 in English: the cosine of a matched pair, the means of the languages taken
away, is then share / (1 + noise^2), up to O(1 / d). An effect is in that unit.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from bench.memory import NINE, REGION, Data, Vectors, chosen, data, rms_normed, tokens_of

Rng = np.random.Generator
D, STATES, NOISE = 48, 4, 0.3
LEVEL_OF = 0.3
TRUE_TO = 1 + NOISE**2  # a share, over the centred cosine that it makes


@dataclass(frozen=True)
class Claim:
    """Rows of a table, by a query."""

    table: str
    rows: str


@dataclass(frozen=True)
class World:
    """about: what may mislead. wrong: what must not be said where the effect is 0; right: what should be
    where it is `effect`. truth: rows, and what they really are where the effect is 0: do their
    intervals cover it? at: further n."""

    name: str
    about: str
    make: Callable[[Rng, int, float], Data]
    n: int
    wrong: Claim | None = None
    right: Claim | None = None
    effect: float = 0.0
    truth: tuple[Claim, float] | None = None
    at: tuple[int, ...] = ()


LEVEL = "alignment_summary"
SIMPLE = "variant_a == 'fire' and variant_b == 'base' and contrast == 'simple'"


# What sentences are made of


def normal(rng: Rng, *shape: int) -> np.ndarray:
    return rng.normal(size=shape)


def drawn(rng: Rng, n: int, languages: Sequence[str], d: int = D) -> tuple[np.ndarray, Vectors]:
    """The meanings (n, 1, d), and what each language's sentences have of their own."""
    return normal(rng, n, 1, d), {code: normal(rng, n, 1, d) for code in languages}


def told(
    rng: Rng,
    meanings: np.ndarray,
    own: Vectors,
    share: Mapping[str, np.ndarray | float],
    states: int = STATES,
    noise: float = NOISE,
) -> Vectors:
    """The sentences as above. share: language -> what it shares with English, broadcast to (n, states)."""
    n, _, d = meanings.shape
    made = {"en": meanings + noise * normal(rng, n, states, d)}
    for code, each in own.items():
        part = np.clip(np.broadcast_to(share[code], (n, states)), -0.95, 0.95)[..., None]
        made[code] = part * meanings + np.sqrt(1 - part**2) * each + noise * normal(rng, n, states, d)
    return made


def both(own: Mapping[str, np.ndarray], meanings: np.ndarray, effect: float) -> Vectors:
    """What is in the sentences otherwise, all of unit variance, and a share of meaning that makes a centred
    cosine of `effect` (in English too)."""
    return {code: np.sqrt(1 - effect) * each + np.sqrt(effect) * meanings for code, each in own.items()}


def unit(rng: Rng, d: int = D) -> np.ndarray:
    """A direction, of the length of a sentence."""
    direction = normal(rng, d)
    return direction * np.sqrt(d) / np.linalg.norm(direction)


def moving(rng: Rng, vectors: Vectors, states: int = STATES, noise: float = NOISE) -> Vectors:
    """(n, 1, d) seen at several states, each with noise of its own."""
    return {code: v + noise * normal(rng, len(v), states, v.shape[-1]) for code, v in vectors.items()}


def one(vectors: Vectors) -> dict[str, Vectors]:
    return {"base": vectors}


# Meanings that depend on each other


def grouped(rng: Rng, group: np.ndarray, effect: float, within: float, name: str) -> Data:
    """Sentences that are alike within their group, in each language in its own way."""
    n, languages = len(group), ("en", "hi")
    parts = {code: normal(rng, group.max() + 1, D)[group][:, None] for code in languages}
    meanings, own = drawn(rng, n, languages)
    alike = {c: np.sqrt(within) * parts[c] + np.sqrt(1 - within) * own[c] for c in languages}
    vectors = moving(rng, both(alike, meanings, effect * TRUE_TO))
    labels = [{name: f"{name}{each}"} for each in group]
    return data(one(vectors), chosen(rng, n, languages), labels)


def frames(rng: Rng, n: int, effect: float) -> Data:
    """A sentence is a frame and two fillers, each a random vector in each language: no alignment at all."""
    languages, levels = ("en", "hi"), {"frame": 12, "person": 14, "place": 10}
    weight = {"frame": 0.6, "person": 0.2, "place": 0.15}
    words = {slot: rng.integers(count, size=n) for slot, count in levels.items()}
    meanings, own = drawn(rng, n, languages)
    made = {}
    for code in languages:
        parts = {slot: normal(rng, levels[slot], D)[words[slot]][:, None] for slot in levels}
        made[code] = sum(np.sqrt(weight[slot]) * parts[slot] for slot in levels) + np.sqrt(0.05) * own[code]
    vectors = moving(rng, both(made, meanings, effect * TRUE_TO))
    groups = [{slot: f"{slot}{words[slot][i]}" for slot in levels} for i in range(n)]
    return data(one(vectors), chosen(rng, n, languages), groups)


def articles(rng: Rng, n: int, effect: float) -> Data:
    return grouped(rng, np.arange(n) // 3, effect, 0.6, "article")


def of_documents(n: int) -> np.ndarray:
    """int (n,): 31 documents that count as 14: square of the sum of sizes, over the sum of their squares."""
    sizes = 1 / np.arange(1, 32) ** 0.82
    return np.searchsorted(np.cumsum(sizes) / sizes.sum(), (np.arange(n) + 0.5) / n)


def documents(rng: Rng, n: int, effect: float) -> Data:
    return grouped(rng, of_documents(n), effect, 0.5, "document")


def near_duplicates(rng: Rng, n: int, effect: float) -> Data:
    return grouped(rng, np.arange(n) // 4, effect, 0.9, "article")


def topics(rng: Rng, n: int, effect: float) -> Data:
    """Ten topics that all languages know; nothing else is shared."""
    topic, languages = np.arange(n) % 10, ("en", "hi")
    known = normal(rng, 10, D)[topic][:, None]
    meanings, own = drawn(rng, n, languages)
    about = {code: np.sqrt(0.5) * known + np.sqrt(0.5) * each for code, each in own.items()}
    vectors = moving(rng, both(about, meanings, effect * TRUE_TO))
    return data(one(vectors), chosen(rng, n, languages), [{"topic": f"topic{each}"} for each in topic])


# Scale: offsets of languages, and what all sentences have in common


def lifted(rng: Rng, vectors: Vectors, length: Mapping[str, np.ndarray | float], alike: bool) -> Vectors:
    """With one vector added to all sentences of a language, the same for all languages where `alike`. length:
    its squared length over that of a sentence, by language, a number or one for each state."""
    common = unit(rng, next(iter(vectors.values())).shape[-1])
    return {
        code: v
        + np.sqrt(np.asarray(length.get(code, 0.5)))[..., None]
        * (common if alike else unit(rng, len(common)))
        for code, v in vectors.items()
    }


def treated(
    rng: Rng, n: int, share: Mapping[str, Mapping[str, float]], languages: Sequence[str], states: int = STATES
) -> dict[str, Vectors]:
    """variant -> vectors of the same meanings and sentences, each variant with noise of its own."""
    meanings, own = drawn(rng, n, languages)
    return {variant: told(rng, meanings, own, each, states) for variant, each in share.items()}


def changed(languages: Sequence[str], by: Mapping[str, float], level: float = 0.4) -> dict[str, float]:
    return {code: level + by.get(code, 0.0) for code in languages}


def region_gains(
    rng: Rng, n: int, effect: float, also: Mapping[str, float] | None = None, control: bool = False
) -> dict[str, Vectors]:
    """base and fire, and with `control` global, in nine languages; fire shares more in its region, by the
    effect, and whatever `also` changes."""
    by = dict(also or {})
    for code in REGION:
        by[code] = by.get(code, 0.0) + effect * TRUE_TO
    level = changed(NINE, {})
    share = {"base": level} | ({"global": level} if control else {}) | {"fire": changed(NINE, by)}
    return treated(rng, n, share, NINE, states=3)


def of_nine(rng: Rng, n: int, variants: dict[str, Vectors]) -> Data:
    return data(variants, chosen(rng, n, ("en", *NINE)))


def offset_moves(rng: Rng, n: int, effect: float) -> Data:
    """The offsets of fire's own languages shrink, so that raw cosines and their excess grow; with an effect
    they grow instead, beside a gain that the excess then hides."""
    variants = region_gains(rng, n, effect)
    after = 1.5 if effect else 0.1
    for name, vectors in variants.items():
        lengths = dict.fromkeys(REGION, after if name == "fire" else 0.5)
        variants[name] = lifted(np.random.default_rng(n), vectors, lengths, alike=False)
    return of_nine(rng, n, variants)


def anisotropy_everywhere(rng: Rng, n: int, effect: float) -> Data:
    """What all sentences have in common becomes less in fire, in all languages alike."""
    after = 0.1 if not effect else 1.5
    share = {"base": changed(("hi",), {}), "fire": changed(("hi",), {"hi": effect * TRUE_TO})}
    variants = treated(rng, n, share, ("hi",))
    for name, length in (("base", 1.0), ("fire", after)):
        variants[name] = lifted(rng, variants[name], {"en": length, "hi": length}, alike=True)
    return data(variants, chosen(rng, n, ("en", "hi")))


def anisotropy_in_one(rng: Rng, n: int, effect: float) -> Data:
    """It becomes less in fire's own languages only."""
    variants = region_gains(rng, n, effect)
    for name in variants:
        lengths = dict.fromkeys(REGION, 0.05) if name == "fire" else {}
        variants[name] = lifted(rng, variants[name], lengths, alike=True)
    return of_nine(rng, n, variants)


def anisotropy_peaks(rng: Rng, n: int, effect: float) -> Data:
    """Alignment is the same at all nine states, anisotropy is not; with an effect, alignment peaks too."""
    hump = np.exp(-((np.arange(9) - 4.0) ** 2) / 4)
    meanings, own = drawn(rng, n, ("hi",))
    vectors = told(rng, meanings, own, {"hi": 0.3 + effect * TRUE_TO * hump}, states=9)
    length = 2 - 1.9 * hump
    vectors = lifted(rng, vectors, {"en": length, "hi": length}, alike=True)
    return data(one(vectors), chosen(rng, n, ("en", "hi")))


# What is shared and is no meaning


def untrained(rng: Rng, tokens: np.ndarray, table: np.ndarray, states: int = STATES) -> np.ndarray:
    """A network of random weights: attention and a layer of ReLU at each block; the mean over tokens is read.

    tokens: (n, length) rows of the embedding `table`. Returns (n, states, d)."""
    x, d = table[tokens], table.shape[1]
    seen = [x.mean(axis=1)]
    for _ in range(states - 1):
        query, key, value, up, down = (normal(rng, d, d) / np.sqrt(d) for _ in range(5))
        scores = (x @ query) @ (x @ key).swapaxes(1, 2) / np.sqrt(d)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        x = x + weights / weights.sum(axis=-1, keepdims=True) @ x @ value
        x = x + np.maximum(x @ up, 0) @ down
        seen.append(x.mean(axis=1))
    return np.stack(seen, axis=1)


def shared_tokens(rng: Rng, n: int, effect: float, most: int = 2, least: int = 2) -> Data:
    """Sentences of 12 tokens in a network that was never trained: some tokens of a pair are the same."""
    languages, vocabulary = ("en", "hi"), 3000
    table = normal(rng, 2 * vocabulary + 40 * n, D)
    tokens = {
        code: k * vocabulary + rng.integers(vocabulary, size=(n, 12)) for k, code in enumerate(languages)
    }
    common = rng.integers(least, most + 1, size=n)
    for row, count in enumerate(common):
        names = 2 * vocabulary + rng.choice(40 * n, count, replace=False)
        for own in tokens.values():
            own[row, rng.choice(12, count, replace=False)] = names
    blocks = rng.integers(2**31)
    vectors = {c: untrained(np.random.default_rng(blocks), tokens[c], table) for c in languages}
    meanings = normal(rng, n, 1, D)
    spread = {code: v.std(axis=(0, 2), keepdims=True) for code, v in vectors.items()}
    part = np.sqrt(effect / (1 - effect))
    vectors = {code: v + part * spread[code] * meanings for code, v in vectors.items()}
    ids = {code: [[2, *(10 + own).tolist(), 7] for own in tokens[code]] for code in languages}
    return data(one(vectors), chosen(rng, n, languages), tokens=ids)


def shared_tokens_vary(rng: Rng, n: int, effect: float) -> Data:
    return shared_tokens(rng, n, effect, most=5, least=0)


def along(
    rng: Rng, n: int, effect: float, told_in: dict, values: Mapping[str, np.ndarray], part: float
) -> Data:
    """One direction, the same in all languages, carries a number of each sentence: `part` of the variance."""
    languages = tuple(told_in)
    meanings, own = drawn(rng, n, languages)
    direction, made = unit(rng), {}
    for code, each in both(own, meanings, effect * TRUE_TO).items():
        number = (values[code] - values[code].mean()) / (values[code].std() or 1.0)
        made[code] = np.sqrt(1 - part) * each + np.sqrt(part) * number[:, None, None] * direction
    return data(one(moving(rng, made)), told_in)


def untrained_reach_it(rng: Rng, n: int, effect: float) -> Data:
    """Networks with random weights see something in matched sentences too, each seed a little more or less;
    what is measured is another such network, or, with an effect, one that learnt."""
    languages = ("en", "hi")

    def network(more: float) -> Vectors:
        meanings, own = drawn(rng, n, ("hi",))
        return told(rng, meanings, own, {"hi": 0.2 + 0.05 * rng.normal() + more})

    seeds = [(seed, centred_cosines(network(0.0))) for seed in range(20)]
    known = {"language": "hi", "stimuli": "parallel", "position": "mean", "metric": "centred_cosine"}
    untrained = pd.DataFrame(
        [known | {"seed": k, "state": s, "value": v} for k, own in seeds for s, v in enumerate(own)]
    )
    made = data(one(network(effect * TRUE_TO)), chosen(rng, n, languages))
    return replace(made, untrained=untrained)


def centred_cosines(vectors: Vectors) -> np.ndarray:
    """(n_states,): of English and Hindi."""
    sides = [vectors[code] - vectors[code].mean(axis=0) for code in ("en", "hi")]
    lengths = [np.linalg.norm(side, axis=-1) for side in sides]
    return ((sides[0] * sides[1]).sum(axis=-1) / (lengths[0] * lengths[1])).mean(axis=0)


def length_in_one_dimension(rng: Rng, n: int, effect: float) -> Data:
    told_in = chosen(rng, n, ("en", "hi"))
    counts = {code: np.array([len(tokens_of(s["text"], code)) for s in own]) for code, own in told_in.items()}
    return along(rng, n, effect, told_in, counts, 0.5)


def final_marks(rng: Rng, n: int, effect: float) -> Data:
    """Half of the sentences are questions, and 85 % of the translations end in the same mark."""
    told_in = chosen(rng, n, ("en", "es"))
    asks = {"en": rng.random(n) < 0.5}
    asks["es"] = asks["en"] ^ (rng.random(n) < 0.15)
    for code, own in told_in.items():
        marked = zip(own, asks[code], strict=True)
        told_in[code] = [s | {"text": s["text"][:-1] + ".?"[int(asked)]} for s, asked in marked]
    return along(rng, n, effect, told_in, {code: q.astype(float) for code, q in asks.items()}, 0.3)


def rogue_dimensions(rng: Rng, n: int, effect: float) -> Data:
    """Two coordinates carry half of the variance and agree between languages; the others share the effect."""
    languages = ("en", "hi")
    meanings, own = drawn(rng, n, languages)
    made = {code: v * np.sqrt(0.5) for code, v in both(own, meanings, effect * TRUE_TO).items()}
    agreed = normal(rng, n, 1, 2)
    for vectors in made.values():
        vectors[..., :2] = np.sqrt(D / 4) * (np.sqrt(0.8) * agreed + np.sqrt(0.2) * normal(rng, n, 1, 2))
    return data(one(moving(rng, made)), chosen(rng, n, languages))


def one_direction_agrees(rng: Rng, n: int, effect: float) -> Data:
    """A direction that is no coordinate carries half of the variance, and agrees between languages."""
    agreed = normal(rng, n)
    numbers = {code: np.sqrt(0.8) * agreed + np.sqrt(0.2) * normal(rng, n) for code in ("en", "hi")}
    return along(rng, n, effect, chosen(rng, n, ("en", "hi")), numbers, 0.5)


# Variants


def forgets_one(rng: Rng, n: int, effect: float) -> Data:
    """fire forgets Spanish, which it was not meant for; with an effect it also gains in its region."""
    return of_nine(rng, n, region_gains(rng, n, effect, {"es": -0.35}))


def gains_everywhere(rng: Rng, n: int, effect: float) -> Data:
    return of_nine(rng, n, region_gains(rng, n, effect, dict.fromkeys(NINE, 0.2), control=True))


def spills_over(rng: Rng, n: int, effect: float) -> Data:
    """fire changes every language by an amount of its own, which has nothing to do with its region."""
    return of_nine(rng, n, region_gains(rng, n, effect, dict(zip(NINE, 0.1 * normal(rng, 9), strict=True))))


def regional(rng: Rng, n: int, effect: float) -> Data:
    return of_nine(rng, n, region_gains(rng, n, effect, control=True))


def noisy_states(rng: Rng, n: int, effect: float) -> Data:
    """Nine states at which nothing differs: one of them looks best in fire."""
    level = changed(NINE[:4], {})
    by = changed(NINE[:4], dict.fromkeys(REGION, effect * TRUE_TO) if effect else {})
    meanings, own = drawn(rng, n, NINE[:4])
    share = {"base": level, "global": level, "fire": by}
    variants = {v: told(rng, meanings, own, s, 9, noise=1.0) for v, s in share.items()}
    return data(variants, chosen(rng, n, ("en", *NINE[:4])))


def skewed(rng: Rng, n: int, effect: float) -> Data:
    """fire changes each meaning by another amount: most a little down, a few far up, by 0 on average."""
    meanings, own = drawn(rng, n, ("hi",), 128)
    change = rng.exponential(size=(n, 1)).clip(0, 3) - (1 - np.exp(-3))  # less the mean of what is cut at 3
    share = {"base": 0.25, "fire": 0.25 + 0.2 * change + effect * TRUE_TO}
    variants = {name: told(rng, meanings, own, {"hi": each}) for name, each in share.items()}
    return data(variants, chosen(rng, n, ("en", "hi")))


def groups_change(rng: Rng, group: np.ndarray, effect: float, name: str) -> Data:
    """fire changes each group of meanings by another amount, on average by nothing."""
    n = len(group)
    meanings, own = drawn(rng, n, ("hi",))
    change = 0.15 * normal(rng, group.max() + 1)[group][:, None] + effect * TRUE_TO
    variants = {v: told(rng, meanings, own, {"hi": s}) for v, s in (("base", 0.4), ("fire", 0.4 + change))}
    return data(variants, chosen(rng, n, ("en", "hi")), [{name: f"{name}{each}"} for each in group])


def articles_change(rng: Rng, n: int, effect: float) -> Data:
    return groups_change(rng, np.arange(n) // 3, effect, "article")


def documents_change(rng: Rng, n: int, effect: float) -> Data:
    return groups_change(rng, of_documents(n), effect, "document")


# Multiplicity, and worlds that are empty


def one_of_nine(rng: Rng, n: int, effect: float, languages: Sequence[str] = NINE, states: int = 9) -> Data:
    """Hindi is aligned at one state, nothing else is."""
    meanings, own = drawn(rng, n, languages)
    hindi = np.where(np.arange(states) == states // 2, effect * TRUE_TO, 0.0)
    vectors = told(rng, meanings, own, {code: hindi * (code == "hi") for code in languages}, states)
    return data(one(vectors), chosen(rng, n, ("en", *languages)))


def null_rows(rng: Rng, n: int, effect: float) -> Data:
    return one_of_nine(rng, n, effect, states=37)


def one_state(rng: Rng, n: int, effect: float) -> Data:
    return one_of_nine(rng, n, effect, ("hi",), states=37)


def every_state(rng: Rng, n: int, effect: float) -> Data:
    meanings, own = drawn(rng, n, ("hi",))
    vectors = told(rng, meanings, own, {"hi": effect * TRUE_TO}, 9)
    return data(one(vectors), chosen(rng, n, ("en", "hi")))


def empty(rng: Rng, n: int, effect: float, kind: str = "plain") -> Data:
    """Nothing is shared between four languages and English, in one way or another."""
    languages = ("en", *NINE[:4])
    made = {}
    for code in languages:
        x = normal(rng, n, STATES, D)
        if kind == "heavy tails":
            x = rng.standard_t(2, size=x.shape)
        elif kind == "rogue dimensions":
            x[..., :2] *= 10
        elif kind == "states that follow each other":
            x = x.cumsum(axis=1)
        elif kind == "few dimensions":
            x = x[..., :4] @ normal(rng, 4, D)
        elif kind == "anisotropic":
            x = x + 3
        made[code] = x
    return data(one(made), chosen(rng, n, languages))


EMPTY = (
    "plain",
    "anisotropic",
    "heavy tails",
    "rogue dimensions",
    "states that follow each other",
    "few dimensions",
)


# Wrong data


def aligned(rng: Rng, n: int, level: float, languages: Sequence[str] = ("hi",)) -> Vectors:
    meanings, own = drawn(rng, n, languages)
    return told(rng, meanings, own, dict.fromkeys(languages, level * TRUE_TO))


def untranslated(rng: Rng, n: int, effect: float) -> Data:
    """9 % of the Spanish sentences are the English ones; with an effect all are Spanish, and aligned."""
    vectors, told_in = aligned(rng, n, effect, ("es",)), chosen(rng, n, ("en", "es"))
    if not effect:
        for row in rng.choice(n, round(0.09 * n), replace=False):
            vectors["es"][row] = vectors["en"][row]
            told_in["es"][row] = told_in["es"][row] | {"text": told_in["en"][row]["text"]}
    return data(one(vectors), told_in)


def off_by_one_line(rng: Rng, n: int, effect: float) -> Data:
    """Half way through the Hindi file a line is missing; with an effect none is."""
    vectors, told_in = aligned(rng, n, effect or 0.5), chosen(rng, n, ("en", "hi"))
    if not effect:
        line = np.r_[: n // 2, n // 2 + 1 : n, n // 2]
        vectors["hi"] = vectors["hi"][line]
        texts = [told_in["hi"][row]["text"] for row in line]
        told_in["hi"] = [s | {"text": text} for s, text in zip(told_in["hi"], texts, strict=True)]
    return data(one(vectors), told_in)


def permuted(rng: Rng, n: int, effect: float) -> Data:
    """The Hindi file in another order, without its lines saying so; with an effect in the right one."""
    vectors = aligned(rng, n, effect or 0.5)
    if not effect:
        vectors["hi"] = vectors["hi"][rng.permutation(n)]
    return data(one(vectors), chosen(rng, n, ("en", "hi")))


def level(rng: Rng, n: int, effect: float) -> Data:
    """One level at every state, in a space that is anisotropic and has offsets; dimensions enough, and all
    directions orthogonal, for the closed forms to hold."""
    meanings, own = drawn(rng, n, ("hi",), 256)
    common, *offsets = 16 * np.linalg.qr(normal(rng, 256, 3))[0].T
    vectors = told(rng, meanings, own, {"hi": LEVEL_OF * TRUE_TO})
    for code, offset in zip(vectors, offsets, strict=True):
        vectors[code] += common + np.sqrt(0.5) * offset
    return data(one(vectors), chosen(rng, n, ("en", "hi")))


def last_state_normed(rng: Rng, n: int, effect: float) -> Data:
    """The last state is what the final norm made, with three heavy weights, rescaled; with an effect not."""
    vectors = aligned(rng, n, effect or 0.5)
    normed = {code: rms_normed(v[:, -1:], heavy=3) for code, v in vectors.items()}
    if not effect:
        for code, v in vectors.items():
            v[:, -1:] = 0.37 * normed[code]
    return data(one(vectors), chosen(rng, n, ("en", "hi")), post_norm=one(normed))


def constant_token(rng: Rng, n: int, effect: float) -> Data:
    """Read at the last token, state 0 is the embedding of a final mark."""
    vectors = aligned(rng, n, effect or 0.5)
    at_last = {code: v.copy() for code, v in vectors.items()}
    for v in at_last.values():
        v[:, 0] = unit(rng)
    return data(one(vectors), chosen(rng, n, ("en", "hi")), own={"last": one(at_last)})


# Few meanings


def sparse(rng: Rng, n: int, effect: float) -> Data:
    """A tenth of the meanings is aligned, closely; the others not at all."""
    meanings, own = drawn(rng, n, ("hi",))
    share = np.where(rng.random((n, 1)) < 0.1, 0.8 * TRUE_TO, 0.0)
    return data(one(told(rng, meanings, own, {"hi": share})), chosen(rng, n, ("en", "hi")))


def five(rng: Rng, n: int, effect: float) -> Data:
    return data(one(aligned(rng, 5, 0.8)), chosen(rng, 5, ("en", "hi")))


def saturated(rng: Rng, n: int, effect: float) -> Data:
    """Every partner is found at once in base and in fire: ranks cannot tell what fire gains."""
    share = {"base": {"hi": 0.85}, "fire": {"hi": 0.85 + effect * TRUE_TO}}
    return data(treated(rng, n, share, ("hi",)), chosen(rng, n, ("en", "hi")))


# Probes: where a variant fails


def pivot_moved(rng: Rng, n: int, effect: float) -> Data:
    """fire's first English sentence loses what all sentences have in common, so that it is far from all, from
    its translations no more than from others; with an effect, its Hindi translation loses its meaning."""
    languages = NINE[:4]
    meanings, own = drawn(rng, n, languages)
    share = dict.fromkeys(languages, 0.7)
    variants = {name: told(rng, meanings, own, share) for name in ("base", "fire")}
    if effect:
        variants["fire"]["hi"][0] = normal(rng, STATES, D)
    common = unit(rng)
    for vectors in variants.values():
        for each in vectors.values():
            each += common
    if not effect:
        variants["fire"]["en"][0] -= common
    return data(variants, chosen(rng, n, ("en", *languages), "probes"), kind="probes")


ANY, STATE_18 = Claim(LEVEL, "state >= 0"), Claim(LEVEL, "state == 18")
FIRE_REGIONAL, FIRE_CHANGED = Claim("regional", "variant == 'fire'"), Claim("variant_effects", SIMPLE)
MEANING = Claim(LEVEL, "verdict == 'meaning'")
HI_PEAKS, NEAR_4 = Claim("peaks", "language == 'hi'"), Claim("peaks", "peak_state in (3, 4, 5)")
HI_ALONE = Claim(LEVEL, "language == 'hi' and state == 4")
HI_OF_37 = Claim(LEVEL, "language == 'hi' and state == 18")
ROBUST = Claim("robustness", "variant == 'fire'")
C01_FAILS = Claim("failure_cases", "concept_id == 'C01'")
LAST_TOKEN = Claim(LEVEL, "position == 'last' and state == 0")
LAST_STATE = Claim(LEVEL, f"state == {STATES - 1}")
COSINE, EXCESS = Claim(LEVEL, "metric == 'cosine'"), Claim(LEVEL, "metric == 'excess'")
GROWING = (20, 100, 200)

WORLDS = {
    world.name: world
    for world in (
        World("frames and fillers", "groups", frames, 120, ANY, ANY, 0.15, truth=(ANY, 0.0)),
        World("articles of three", "groups", articles, 60, ANY, ANY, 0.15, truth=(ANY, 0.0)),
        World("31 documents", "groups", documents, 124, ANY, ANY, 0.15, truth=(ANY, 0.0)),
        World("near-duplicates", "groups", near_duplicates, 40, ANY, ANY, 0.4, truth=(ANY, 0.0)),
        World("articles change", "groups", articles_change, 60, FIRE_CHANGED, FIRE_CHANGED, 0.2),
        World("31 documents change", "groups", documents_change, 124, FIRE_CHANGED, FIRE_CHANGED, 0.2),
        World("ten topics", "topic", topics, 100, MEANING, MEANING, 0.2),
        World("offset moves with the variant", "scale", offset_moves, 40, FIRE_REGIONAL, FIRE_REGIONAL, 0.15),
        World("anisotropy everywhere", "scale", anisotropy_everywhere, 60, FIRE_CHANGED, FIRE_CHANGED, 0.15),
        World("anisotropy in the region", "scale", anisotropy_in_one, 40, FIRE_REGIONAL, FIRE_REGIONAL, 0.15),
        World("anisotropy by state", "scale", anisotropy_peaks, 60, HI_PEAKS, NEAR_4, 0.3, at=(20,)),
        World("ranks at the ceiling", "scale", saturated, 40, None, FIRE_CHANGED, 0.05),
        World("two of twelve tokens shared", "tokens", shared_tokens, 60, ANY),
        World("zero to five tokens shared", "tokens", shared_tokens_vary, 60, ANY, ANY, 0.3),
        World("length in one dimension", "tokens", length_in_one_dimension, 100, ANY, ANY, 0.3),
        World("rogue dimensions agree", "tokens", rogue_dimensions, 60, ANY, ANY, 0.3),
        World("one direction agrees", "tokens", one_direction_agrees, 60, ANY, ANY, 0.3),
        World("final marks agree", "tokens", final_marks, 60, ANY, ANY, 0.3),
        World("untrained networks reach it", "tokens", untrained_reach_it, 60, ANY, ANY, 0.3),
        World("one language forgotten", "placebos", forgets_one, 40, FIRE_REGIONAL, FIRE_REGIONAL, 0.15),
        World("gain in every language", "placebos", gains_everywhere, 40, FIRE_REGIONAL, FIRE_REGIONAL, 0.15),
        World("spill-over apart from region", "placebos", spills_over, 40, FIRE_REGIONAL, FIRE_REGIONAL, 0.3),
        World("regional effect", "placebos", regional, 40, FIRE_REGIONAL, FIRE_REGIONAL, 0.05, at=GROWING),
        World("one language of nine", "multiplicity", one_of_nine, 60, ANY, HI_ALONE, 0.2),
        World("333 null rows", "multiplicity", null_rows, 20, ANY, HI_OF_37, 0.3),
        World("state chosen where fire is best", "winner's curse", noisy_states, 30, ROBUST, ROBUST, 0.15),
        World("untranslated English", "wrong data", untranslated, 100, ANY, ANY, 0.2),
        World("half off by one line", "wrong data", off_by_one_line, 60, ANY, ANY, 0.3),
        World("lines in another order", "wrong data", permuted, 60, ANY, ANY, 0.3, truth=(ANY, 0.0)),
        World(
            "skewed differences",
            "few meanings",
            skewed,
            20,
            FIRE_CHANGED,
            FIRE_CHANGED,
            0.15,
            truth=(FIRE_CHANGED, 0.0),
        ),
        World("level, centred cosine", "coverage", level, 40, truth=(ANY, LEVEL_OF), at=GROWING),
        World(
            "level, cosine", "coverage", level, 40, truth=(COSINE, (LEVEL_OF * TRUE_TO + 1) / (TRUE_TO + 1.5))
        ),
        World(
            "level, excess",
            "coverage",
            level,
            40,
            truth=(EXCESS, LEVEL_OF * TRUE_TO / (TRUE_TO + 1.5)),
            at=(20,),
        ),
        World("a tenth aligned", "few meanings", sparse, 20, truth=(ANY, 0.08)),
        World("five meanings", "few meanings", five, 5, ANY),
        World("last state after the norm", "norm", last_state_normed, 60, LAST_STATE, LAST_STATE, 0.3),
        World("constant final token", "norm", constant_token, 60, LAST_TOKEN, ANY, 0.3),
        World("pivot sentence moved", "failures", pivot_moved, 20, C01_FAILS, C01_FAILS, 1.0),
        World("aligned at nine of nine states", "power", every_state, 40, None, ANY, 0.1, at=GROWING),
        World("aligned at one of 37 states", "power", one_state, 40, None, STATE_18, 0.1, at=GROWING),
        *(
            World(
                f"empty: {kind}",
                "headline",
                partial(empty, kind=kind),
                30,
                ANY,
                at=(200,) * (kind == "plain"),
            )
            for kind in EMPTY
        ),
    )
}
