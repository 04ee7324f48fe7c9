"""TICO-19: what is trained on and what is held out never meet; the rule chooses as written."""

import bz2
import json
import re
import unicodedata
from collections import Counter

import pytest

import build_stimuli
from bench import tico as maker
from probe.errors import ProbeError
from probe.languages import LANGUAGES
from probe.paths import REPOSITORY
from probe.stimuli import parallel, tico
from probe.stimuli.manifest import Manifest, load_manifest
from probe.stimuli.texts import final_mark, folded

RAW = REPOSITORY.parent / "shared" / "tico19"
NINE = [code for code in LANGUAGES if code != "yo"]
UNSEEN = "\u200c"


@pytest.fixture(scope="module")
def whole() -> dict[str, list[str]]:
    """The file, read without the code under test."""
    return json.loads(bz2.decompress((REPOSITORY / tico.FILE).read_bytes()))


@pytest.fixture(scope="module")
def documents(whole) -> dict[str, list[int]]:
    of: dict[str, list[int]] = {}
    for line, name in enumerate(whole["ids"]):
        of.setdefault(name.split(":")[0], []).append(line)
    return of


def small(*lines: tuple[str, str] | tuple[str, str, str]) -> tico.Tico:
    """Of (document, English) or (document, English, Swahili) lines; else Swahili is the English marked."""
    texts = {
        "en": [line[1] for line in lines],
        "sw": [line[2] if len(line) > 2 else f"sw {line[1]}" for line in lines],
    }
    ids = [f"{line[0]}:{number}" for number, line in enumerate(lines)]
    return tico.Tico(ids, texts, parallel.keep(texts), "")


def padded(*lines, documents: str = "A") -> tico.Tico:
    """With lines more, none of which the rule lets through, so that each document is held out."""
    more = [(name, f"{name} {number} without a mark") for name in documents for number in range(15)]
    return small(*lines, *more)


# The embedded file


def test_all_lines_are_there_in_nine_languages(whole):
    assert list(whole) == ["ids", *NINE]
    assert {len(column) for column in whole.values()} == {2600}
    assert len(set(whole["ids"])) == 2600
    texts = [text for code in NINE for text in whole[code]]
    assert all(text and text == unicodedata.normalize("NFC", text).strip() for text in texts)


@pytest.mark.skipif(not RAW.exists(), reason="TICO-19 is not beside the repository")
def test_the_maker_gives_the_embedded_bytes(tmp_path, whole):
    maker.main(["--tico-dir", str(RAW), "--root", str(tmp_path)])
    assert (tmp_path / tico.FILE).read_bytes() == (REPOSITORY / tico.FILE).read_bytes()
    for name, column in whole.items():
        assert (RAW / f"{name}.txt").read_text("utf-8") == "".join(f"{line}\n" for line in column)


@pytest.mark.parametrize(
    ("ids", "swahili", "said"),
    [("a:1\na:2\n", "Moja.\n", "'sw': 1"), ("a:1\na:1\n", "Moja.\nMbili.\n", "an id comes twice")],
)
def test_the_maker_refuses_what_is_not_aligned(tmp_path, ids, swahili, said):
    for name, content in {"ids": ids, "en": "One.\nTwo.\n", "sw": swahili}.items():
        (tmp_path / f"{name}.txt").write_text(content)
    with pytest.raises(ProbeError, match=re.escape(said)):
        maker.main(["--tico-dir", str(tmp_path), "--root", str(tmp_path)])
    assert not (tmp_path / tico.FILE).exists()


@pytest.mark.parametrize("content", [None, b"", b"BZh9", bz2.compress(b"[]"), bz2.compress(b"{}")])
def test_a_missing_or_damaged_file_says_how_to_get_it_back(tmp_path, content):
    path = tmp_path / "tico19.json.bz2"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ProbeError, match="git checkout data/tico19"):
        tico.read(path)


# Training and held out


def test_what_is_held_out_is_whole_documents_of_middle_length(documents):
    names = tico.held_out_documents()
    assert names == [name for name, lines in documents.items() if 15 <= len(lines) <= 55]
    assert len(names) == 13
    assert tico.held_out().n == sum(len(documents[name]) for name in names) == 455


def test_training_and_held_out_share_no_document_and_no_text(whole, documents):
    """Against a search for each text in the file."""
    trained, apart = tico.training(), set(tico.held_out_documents())
    assert len(trained) == 1899
    of = {line: name for name, lines in documents.items() for line in lines}
    places = {text: line for line, text in reversed(list(enumerate(whole["en"])))}  # the first of equals
    lines = [places[texts["en"]] for texts in trained]
    assert lines == sorted(lines)
    assert not apart & {of[line] for line in lines}
    for code in NINE:
        assert [texts[code] for texts in trained] == [whole[code][line] for line in lines]
        measured = {folded(s.text) for s in tico.chosen(399) if s.language == code}
        assert not measured & {folded(texts[code]) for texts in trained}


def test_nothing_doubtful_is_trained_on(whole):
    """No text of training, in any language, stands at a second line with another English sentence."""
    trained = tico.training()
    for code in NINE:
        english: dict[str, set[str]] = {}
        for text, own in zip(whole[code], whole["en"], strict=True):
            english.setdefault(folded(text), set()).add(folded(own))
        assert all(len(english[folded(texts[code])]) == 1 for texts in trained)
        assert len({folded(texts[code]) for texts in trained}) == len(trained)


# The rule


def test_the_rule_on_the_file_told_apart_line_by_line(whole, documents):
    """By a slow reading of the rule that shares the two text functions alone."""
    forms = {code: [folded(text) for text in whole[code]] for code in NINE}
    counts = {code: Counter(own) for code, own in forms.items()}
    fit: dict[str, list[int]] = {}
    for name in (name for name, lines in documents.items() if 15 <= len(lines) <= 55):
        for line in documents[name]:
            texts = [whole[code][line] for code in NINE]
            alone = all(counts[code][forms[code][line]] == 1 for code in NINE)
            seen = not any(unicodedata.category(c) == "Cf" for text in texts for c in text)
            if alone and seen and all(final_mark(text) in (".", "?", "!") for text in texts):
                fit.setdefault(name, []).append(line)
    expected = []
    while any(fit.values()):
        for lines in fit.values():
            if lines:
                best = min(lines, key=lambda line: (len(whole["en"][line].split()), line))
                expected.append(whole["ids"][best].replace(":", "-"))
                lines.remove(best)
    assert len(expected) == 399
    chosen = tico.chosen(399)
    assert [s.meaning_id for s in chosen if s.language == "en"] == expected


def test_what_is_dropped_is_counted():
    left = tico.held_out()
    assert left.dropped == {
        "blank": 0,
        "contradictory": 8,
        "duplicate": 0,
        tico.UNMARKED: 42,
        tico.UNSEEN: 6,
    }
    assert left.n - sum(left.dropped.values()) == len(left.lines) == 399


def test_documents_take_turns_each_with_its_shortest_left():
    corpus = padded(
        ("A", "This one is long."), ("A", "Two words."), ("A", "Equal here."),
        ("B", "B has three."), ("B", "B has four words."), documents="AB",
    )  # fmt: skip
    english = [s.text for s in tico.chosen(5, corpus) if s.language == "en"]
    assert english == ["Two words.", "B has three.", "Equal here.", "B has four words.", "This one is long."]
    assert [s.text for s in tico.chosen(2, corpus)] == [
        "Two words.",
        "sw Two words.",
        "B has three.",
        "sw B has three.",
    ]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (("A", "No mark in Swahili.", "Hakuna alama"), tico.UNMARKED),
        (("A", "A heading:"), tico.UNMARKED),
        (("A", "One that is not seen.", f"Moja{UNSEEN} tu."), tico.UNSEEN),
        (("A", "Nothing said.", "..."), "blank"),
        (("A", "Good one.", "sw Good."), "contradictory"),
        (("A", "good."), "duplicate"),
    ],
)
def test_each_reason_drops_its_line(line, why):
    before = tico.held_out(padded(("A", "Good."), ("A", "Other.")))
    after = tico.held_out(padded(("A", "Good."), ("A", "Other."), line))
    gone = 2 if why == "contradictory" else 1  # which of the two is wrong cannot be told
    assert after.dropped == before.dropped | {why: before.dropped[why] + gone}
    assert len(after.lines) == len(before.lines) + 1 - gone


@pytest.mark.parametrize(("n", "held"), [(14, False), (15, True), (55, True), (56, False)])
def test_a_document_is_held_out_by_its_lines_in_the_file(n, held):
    corpus = small(*[("A", f"Sentence {number}.") for number in range(n)])
    assert tico.held_out_documents(corpus) == (["A"] if held else [])
    assert len(tico.training(corpus)) == (0 if held else n)


def test_more_is_more_of_the_same():
    names = [s.stimulus_id for s in tico.chosen(200)]
    for n in (1, 13, 14, 100):
        assert [s.stimulus_id for s in tico.chosen(n)] == names[: n * len(NINE)]
    with pytest.raises(ProbeError, match="400 TICO-19 meanings asked for, the rule leaves 399: --tico"):
        tico.chosen(400)


def test_the_stimuli_are_whole_in_nine_languages_and_know_their_document(whole):
    chosen = tico.chosen(200)
    manifest = Manifest(metadata={}, tico=chosen)  # refuses a text or a meaning given twice
    assert Counter(s.language for s in chosen) == dict.fromkeys(NINE, 200)
    for stimulus in chosen:
        line = int(stimulus.stimulus_id.rpartition("_")[2]) - 1
        assert stimulus.stimulus_id == f"tico_{stimulus.language}_{line + 1:04d}"
        assert stimulus.text == whole[stimulus.language][line]
        assert stimulus.meaning_id == whole["ids"][line].replace(":", "-")
        assert stimulus.groups == {"document": whole["ids"][line].split(":")[0]}
        assert stimulus.stratum == stimulus.groups["document"]
    assert len(manifest.matched("tico", "sw")) == 200
    assert manifest.matched("tico", "yo") == []
    assert manifest.meanings("tico").left_out == {}


# Stage 1


def run(root, *options: str, family: str = "tiny-aya") -> int:
    return build_stimuli.main(["--root", str(root), "--family", family, "--flores", "none", *options])


def test_real_sentences_need_no_network_and_the_last_line_says_what_was_dropped(tmp_path, capsys):
    assert run(tmp_path) == 0
    manifest = load_manifest(tmp_path / "data" / "stimulus_manifest.json", "tiny-aya")
    assert manifest.tico == tico.chosen(100)
    (line,) = capsys.readouterr().out.splitlines()
    assert "900 tico" in line
    dropped = "8 contradictory, 42 no final mark, 6 unseen character"
    assert line.endswith(f"; of 455 held-out lines of TICO-19, 56 dropped: {dropped}")
    source = manifest.metadata["sources"]["tico"]
    assert (source["file"], source["licence"]) == (tico.FILE, "CC0-1.0")
    assert (source["held_out"], source["left"]) == (455, 399)
    assert source["dropped"] == tico.held_out().dropped
    assert source["documents"] == tico.held_out_documents()
    assert len(source["contradictory"]["fr"]) == 242


@pytest.mark.parametrize(
    ("options", "family", "n"),
    [(("--tico", "7"), "tiny-aya", 7), (("--tico", "none"), "tiny-aya", 0), ((), "nano-aya", 200)],
)
def test_how_many(tmp_path, capsys, options, family, n):
    assert run(tmp_path, *options, family=family) == 0
    name = "organism" if family == "nano-aya" else "data"
    manifest = load_manifest(tmp_path / name / "stimulus_manifest.json", family)
    assert len(manifest.tico) == 9 * n
    assert manifest.metadata["counts"]["tico"] == 9 * n
    assert ("TICO-19" in capsys.readouterr().out) == bool(n)


def test_more_than_there_are_is_an_error_that_says_how_many_there_are(tmp_path, capsys):
    assert run(tmp_path, "--tico", "400") == 1
    assert "the rule leaves 399" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("n", ["0", "-1", "some", "1.5", ""])
def test_what_is_no_number_is_wrong_usage(tmp_path, capsys, n):
    with pytest.raises(SystemExit, match="2"):
        run(tmp_path, f"--tico={n}")
    assert "neither a number from 1 nor none" in capsys.readouterr().err
