"""Stage 1: what the manifest holds, which FLORES sentences it chooses, and what it says of bad input."""

import csv
import errno
import io
import json
import os
import random
import re
import tarfile
import urllib.error
import urllib.request
from collections import Counter
from hashlib import sha256
from pathlib import Path

import datasets
import pytest

import build_stimuli
from organism import corpus
from probe.audit.checks import Evidence, audit
from probe.errors import ProbeError
from probe.languages import LANGUAGES, TARGETS
from probe.paths import REPOSITORY
from probe.stimuli import flores, tico
from probe.stimuli.manifest import load_manifest

OFFICIAL = REPOSITORY.parent / "shared" / "flores200_dataset"
needs_official = pytest.mark.skipif(not OFFICIAL.exists(), reason="FLORES-200 is not beside the repository")

# English sentence and topics of a FLORES-200 in small; index 2 and 5 are traps for word boundaries.
SMALL = [
    ("The train was late again.", "Travel"),
    ("The vaccine reached the village.", "politics, Health"),
    ("She was painting a sickle.", "art"),
    ("A Hospital was built there.", "Politics"),
    ("Symptoms such as vomiting are general.", "Science/First Aid"),
    ("The wealthy man bought the hospitality firm.", "healthcare, mental health law"),
]


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    def refuse(*_, **__):
        raise urllib.error.URLError("no network in tests")

    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_TOKEN_PATH", os.devnull)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", os.devnull)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(datasets, "load_dataset", refuse)


def concept(name: str) -> dict:
    return {
        "concept": name,
        "category": "symptom",
        "translations": {code: f"This is {name} in {code}." for code in LANGUAGES},
        "focus": dict.fromkeys(LANGUAGES, name),
    }


@pytest.fixture
def root(tmp_path) -> Path:
    write_probes(tmp_path, {"C01": concept("fever"), "C02": concept("cough")})
    return tmp_path


def write_probes(root: Path, content: object) -> None:
    path = root / "data" / "concept_probes.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def official_files(sentences=SMALL) -> dict[str, str]:
    """{relative path: content} of a FLORES-200 in the official layout."""
    files = {
        f"devtest/{language.flores}.devtest": "".join(
            (text if code == "en" else f"{code} {text}") + "\n" for text, _ in sentences
        )
        for code, language in LANGUAGES.items()
    }
    rows = "".join(f"page{i // 2}\tdomain\t{topic}\tno\tyes\n" for i, (_, topic) in enumerate(sentences))
    files["metadata_devtest.tsv"] = f"URL\tdomain\ttopic\thas_image\thas_hyperlink\n{rows}"
    return files


@pytest.fixture
def small(tmp_path) -> Path:
    folder = tmp_path / "flores"
    for name, content in official_files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    return folder


def run(root: Path, *options: str) -> int:
    return build_stimuli.main(["--root", str(root), *options])


def manifest_of(root: Path, family: str = "tiny-aya", name: str = "data/stimulus_manifest.json"):
    return load_manifest(root / name, family)


# The file


def test_probes_and_flores_make_a_manifest_that_loads(root, small, capsys):
    assert run(root, "--flores-dir", str(small), "--flores-per-language", "4") == 0

    manifest = manifest_of(root)
    assert [s.stimulus_id for s in manifest.probes][:2] == ["probe_C01_en", "probe_C01_hi"]
    assert len(manifest.probes) == 2 * 10
    assert len(manifest.flores) == 4 * 10
    for target in TARGETS:
        assert len(manifest.matched("flores", target)) == 4
    articles = {s.flores_index: s.groups["article"] for s in manifest.flores}
    assert articles == {1: "page0", 4: "page2", 3: "page1", 0: "page0"}
    assert {s.concept_id: s.groups["concept"] for s in manifest.probes} == {"C01": "C01", "C02": "C02"}
    assert all(s.groups == {"case": s.reference_id} for s in manifest.edge)
    last_line = capsys.readouterr().out.splitlines()[-1]
    assert str(root / "data" / "stimulus_manifest.json") in last_line
    assert "20 probes, 900 tico, 40 flores" in last_line


def test_the_same_inputs_give_the_same_bytes_and_name_no_folder_of_this_machine(root, small):
    options = ("--flores-dir", str(small), "--flores-per-language", "4")
    path = root / "data" / "stimulus_manifest.json"
    run(root, *options)
    first = path.read_bytes()
    run(root, *options)
    assert path.read_bytes() == first
    assert str(root).encode() not in first
    metadata = json.loads(first)["metadata"]
    assert metadata["counts"] == {"probes": 20, "tico": 900, "flores": 40, "parallel": 0, "edge": 160}
    assert metadata["sources"]["flores"]["licence"] == "CC-BY-SA-4.0"
    assert metadata["sources"]["flores"]["selected_by"] == {"topic": 2, "keyword": 1, "fill": 1}
    probes = (root / "data" / "concept_probes.json").read_bytes()
    assert metadata["sources"]["probes"]["sha256"] == sha256(probes).hexdigest()


def test_a_failed_write_leaves_the_old_manifest_whole(root, monkeypatch, capsys):
    run(root, "--flores", "none")
    path = root / "data" / "stimulus_manifest.json"
    before = path.read_bytes()
    write_probes(root, {"C01": concept("pain")})

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert run(root, "--flores", "none") == 1
    assert "No space left" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert sorted(p.name for p in path.parent.iterdir()) == ["concept_probes.json", path.name]


def test_nano_aya_gets_the_held_out_meanings_of_its_corpus_and_no_flores(root):
    assert run(root, "--family", "nano-aya") == 0

    manifest = manifest_of(root, "nano-aya", "organism/stimulus_manifest.json")
    assert len(manifest.parallel) == 200 * 10
    assert not manifest.flores
    assert not manifest.metadata["flores_tried"]
    hindi = next(s for s in manifest.parallel if s.stimulus_id == "parallel_hi_007")
    assert hindi.meaning_id == corpus.held_out()[7].id
    assert hindi.text == corpus.render(corpus.held_out()[7], "hi")
    trained_on = {meaning.id for meaning in corpus.training_meanings()}
    assert not trained_on & {s.meaning_id for s in manifest.parallel}


def test_a_held_out_sentence_names_its_frame_and_what_fills_it(root):
    """Frame and fillers cross: two meanings may share a person and differ in all else."""
    run(root, "--family", "nano-aya")
    manifest = manifest_of(root, "nano-aya", "organism/stimulus_manifest.json")
    gave = next(s for s in manifest.parallel if s.meaning_id.startswith("gave-"))
    _, giver, intake, receiver = gave.meaning_id.split("-")
    assert gave.groups == {"frame": "gave", "person": giver, "intake": intake, "person2": receiver}
    assert all("-".join(s.groups.values()) == s.meaning_id for s in manifest.parallel)
    assert len({s.groups["frame"] for s in manifest.parallel}) == len(corpus.FRAMES)


def test_nano_aya_takes_flores_where_it_is_asked_for(root, small):
    run(root, "--family", "nano-aya", "--flores-dir", str(small), "--flores-per-language", "2")
    manifest = manifest_of(root, "nano-aya", "organism/stimulus_manifest.json")
    assert {s.flores_index for s in manifest.flores} == {1, 4}


# The selection


def test_health_topics_come_first_then_whole_words_then_the_rest():
    english, topics = zip(*SMALL, strict=True)
    assert flores.select(english, topics, 6) == [
        (1, "topic:health"),
        (4, "topic:science/first aid"),
        (3, "keyword:hospital"),
        (0, "fill:index"),
        (2, "fill:index"),
        (5, "fill:index"),
    ]


def test_without_topics_the_keywords_decide_and_say_so():
    english = [text for text, _ in SMALL]
    chosen = flores.select(english, [""] * len(english), 3)
    assert chosen == [(1, "keyword:vaccine"), (3, "keyword:hospital"), (4, "keyword:symptoms")]


def test_a_smaller_selection_is_the_beginning_of_a_larger_one():
    rng = random.Random(0)
    english, topics = zip(*rng.choices(SMALL, k=300), strict=True)
    largest = flores.select(english, topics, 300)
    assert sorted(index for index, _ in largest) == list(range(300))
    for n in (1, 50, 120, 299):
        assert flores.select(english, topics, n) == largest[:n]


@needs_official
def test_official_flores_gives_fifty_aligned_health_sentences(root):
    """Against a reading of the official files that shares nothing with probe.flores."""
    assert run(root, "--flores-dir", str(OFFICIAL)) == 0
    chosen = manifest_of(root).flores
    with (OFFICIAL / "metadata_devtest.tsv").open(encoding="utf-8", newline="") as file:
        topics = [row["topic"] for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]
    lines = {
        code: (OFFICIAL / "devtest" / f"{language.flores}.devtest").read_bytes().split(b"\n")
        for code, language in LANGUAGES.items()
    }
    for s in chosen:
        assert s.text == lines[s.language][s.flores_index].decode().strip()
        assert s.topic == topics[s.flores_index]
        assert s.stimulus_id == f"flores_{s.language}_{s.flores_index:03d}"
        way, _, label = s.selected_by.partition(":")
        if way == "topic":
            assert label in [topic.strip().casefold() for topic in topics[s.flores_index].split(",")]
        else:
            english = lines["en"][s.flores_index].decode().casefold()
            assert way == "keyword"
            assert label in re.findall(r"\w+", english)
    indices = {code: [s.flores_index for s in chosen if s.language == code] for code in LANGUAGES}
    assert len(set(indices["en"])) == 50
    assert all(of_language == indices["en"] for of_language in indices.values())
    # Every sentence that the metadata files under health or disease is there.
    under_health = {i for i, topic in enumerate(topics) if re.search(r"\b(health|disease)\b", topic.lower())}
    assert under_health <= set(indices["en"])


@needs_official
def test_all_of_official_flores_can_be_asked_for(root):
    assert run(root, "--flores-dir", str(OFFICIAL), "--flores-per-language", "1012") == 0
    assert len(manifest_of(root).flores) == 10 * 1012


# Where FLORES comes from


def archive_of(files: dict[str, str], prefix: str = "./flores200_dataset/") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(content.encode())
            tar.addfile(member, io.BytesIO(content.encode()))
    return buffer.getvalue()


def serve(monkeypatch, content: bytes, official: bool = True) -> list[str]:
    """Lets the download give `content`; returns the list that the addresses asked for are added to."""
    asked = []

    def urlopen(url, **_):
        asked.append(url)
        return io.BytesIO(content)

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    if official:
        monkeypatch.setattr(flores, "ARCHIVE_SHA256", sha256(content).hexdigest())
    return asked


def hub(monkeypatch, tables: dict[tuple[str, str | None], dict[str, list]]) -> list[str | None]:
    """Lets the hub hold `tables`; returns the list that the tokens it is given are added to."""
    tokens = []

    def load_dataset(name, config=None, *, split, token=None):
        tokens.append(token)
        if (name, config) not in tables:
            raise ConnectionError(f"no {name} for the bearer of {token}")
        assert split == "devtest"
        return datasets.Dataset.from_dict(tables[name, config])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(flores, "N_SENTENCES", len(SMALL))
    return tokens


def mirror_table(spelling: str = "{}") -> dict[str, list]:
    return {
        spelling.format(language.flores): [f"{code} {text}" for text, _ in SMALL]
        for code, language in LANGUAGES.items()
    }


def plus_tables() -> dict[tuple[str, str | None], dict[str, list]]:
    rows = list(enumerate(SMALL))[::-1]  # the hub promises no order
    return {
        (flores.FLORES_PLUS, language.flores): {
            "id": [i for i, _ in rows],
            "text": [f"{code} {text}" for _, (text, _) in rows],
            "topic": [topic for _, (_, topic) in rows],
            "url": [f"page{i // 2}" for i, _ in rows],
        }
        for code, language in LANGUAGES.items()
    }


def test_without_any_source_there_is_no_flores_and_one_message_says_why(root, caplog):
    assert run(root) == 0
    manifest = manifest_of(root)
    assert len(manifest.probes) == 20
    assert not manifest.flores
    tried = [attempt["source"] for attempt in manifest.metadata["flores_tried"]]
    assert tried == [flores.ARCHIVE_URL, flores.MIRROR, flores.FLORES_PLUS]
    (warning,) = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert all(source in warning for source in tried)
    assert "no network in tests" in warning
    assert "HF_TOKEN" in warning


def test_the_archive_is_read_checked_and_kept(root, monkeypatch):
    asked = serve(monkeypatch, archive_of(official_files()))
    for _ in range(2):
        assert run(root, "--flores-per-language", "4") == 0
    assert asked == [flores.ARCHIVE_URL]
    assert manifest_of(root).metadata["sources"]["flores"]["source"] == flores.ARCHIVE_URL
    assert [p.name for p in (root / "flores_cache").iterdir()] == ["flores200_dataset.tar.gz"]

    (root / "flores_cache" / "flores200_dataset.tar.gz").write_bytes(b"damaged")
    assert run(root, "--flores-per-language", "4") == 0
    assert len(asked) == 2
    assert len(manifest_of(root).flores) == 40


def test_another_archive_is_refused_and_the_mirror_takes_its_place(root, monkeypatch, caplog):
    serve(monkeypatch, archive_of(official_files()), official=False)
    hub(monkeypatch, {(flores.MIRROR, None): mirror_table()})
    assert run(root, "--flores-per-language", "3") == 0
    manifest = manifest_of(root)
    assert "sha256 differs" in manifest.metadata["flores_tried"][0]["outcome"]
    assert manifest.metadata["flores_tried"][1] == {"source": flores.MIRROR, "outcome": "used"}
    assert not any((root / "flores_cache").iterdir())
    assert all(s.topic == "" and s.selected_by.startswith("keyword:") for s in manifest.flores)
    assert all(s.groups == {} for s in manifest.flores)
    assert "each sentence counts as independent, which it is not" in caplog.text


def test_nothing_of_an_archive_is_written_to_disk(root, monkeypatch):
    files = {"../../escaped": "x", "devtest/../../../escaped": "x", **official_files()}
    serve(monkeypatch, archive_of(files))
    before = set(root.parent.iterdir())
    assert run(root, "--flores-per-language", "4") == 0
    assert set(root.parent.iterdir()) == before
    written = {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}
    assert written == {
        "data/concept_probes.json",
        "data/stimulus_manifest.json",
        "flores_cache/flores200_dataset.tar.gz",
    }


def test_an_archive_that_lacks_a_language_says_which(monkeypatch, tmp_path):
    files = official_files()
    del files["devtest/tam_Taml.devtest"]
    serve(monkeypatch, archive_of(files))
    with pytest.raises(ProbeError, match=r"lacks devtest/tam_Taml\.devtest"):
        flores.from_archive(tmp_path)


@pytest.mark.parametrize("spelling", ["{}", "sentence_{}"])
def test_the_mirror_is_read_in_either_spelling_of_its_columns(monkeypatch, spelling):
    hub(monkeypatch, {(flores.MIRROR, None): mirror_table(spelling)})
    assert flores.from_mirror().sentences["yo"][3] == "yo A Hospital was built there."


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda t: t.pop("yor_Latn"), "no column for Yoruba: neither yor_Latn nor sentence_yor_Latn"),
        (lambda t: t.update(yor_Latn=["", *t["yor_Latn"][1:]]), "column yor_Latn: sentence 1 is empty"),
        (lambda t: [t.update({k: v[:-1]}) for k, v in t.items()], "has 5 sentences, expected 6"),
    ],
)
def test_a_mirror_that_is_not_as_expected_says_how(monkeypatch, spoil, said):
    table = mirror_table()
    spoil(table)
    hub(monkeypatch, {(flores.MIRROR, None): table})
    with pytest.raises(ProbeError, match=said):
        flores.from_mirror()


def test_flores_plus_is_ordered_by_its_ids_and_brings_topics(root, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    tokens = hub(monkeypatch, plus_tables())
    assert run(root, "--flores-per-language", "2") == 0
    assert set(tokens) == {None, "hf_secret"}  # the mirror is asked without one
    manifest = manifest_of(root)
    assert [s.flores_index for s in manifest.flores if s.language == "hi"] == [1, 4]
    assert next(s for s in manifest.flores if s.language == "hi").text == f"hi {SMALL[1][0]}"
    assert [s.groups for s in manifest.flores if s.language == "hi"] == [
        {"article": "page0"},
        {"article": "page2"},
    ]


def test_flores_plus_with_other_ids_in_a_language_is_refused(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    tables = plus_tables()
    tables[flores.FLORES_PLUS, "swh_Latn"]["id"][0] = 99
    hub(monkeypatch, tables)
    with pytest.raises(ProbeError, match="swh_Latn has other sentence ids"):
        flores.from_flores_plus()


def test_the_token_is_nowhere_in_messages_or_manifest(root, monkeypatch, caplog, capsys):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    tokens = hub(monkeypatch, {})
    assert run(root, "--verbose") == 0
    assert "hf_secret" in tokens
    output = capsys.readouterr()
    manifest = (root / "data" / "stimulus_manifest.json").read_text(encoding="utf-8")
    assert "hf_secret" not in caplog.text + output.out + output.err + manifest


# Bad input


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("devtest/tam_Taml.devtest", None, "lacks devtest/tam_Taml.devtest"),
        ("metadata_devtest.tsv", None, "lacks metadata_devtest.tsv"),
        ("devtest/tam_Taml.devtest", b"one\ntwo\n", "tam_Taml has 2 sentences, expected 6"),
        ("devtest/tam_Taml.devtest", b"1\n2\n3\n \n5\n6\n", "sentence 4 is empty"),
        ("devtest/tam_Taml.devtest", b"1\n2\n3\n4\n5\n\xff\n", "is not UTF-8"),
        ("devtest/tam_Taml.devtest", b"1\nsame\n3\n4\nsame\n6\n", "same text as flores_ta_001"),
        ("devtest/eng_Latn.devtest", b"", "holds no sentence"),
        ("metadata_devtest.tsv", b"URL\tdomain\nu\td\n", "no column 'topic'"),
        ("metadata_devtest.tsv", b"", "no column 'topic'"),
        ("metadata_devtest.tsv", b"URL\ttopic\nu\thealth\n", "1 topics for 6 sentences"),
        ("metadata_devtest.tsv", b"topic\nhealth\n", "no column 'URL'"),
        ("devtest/tam_Taml.devtest", b"1\n2\n3\n4\n...\n6\n", "flores_ta_004: the text ... has no letter"),
        ("devtest/tam_Taml.devtest", "1\n2\n3\n4\n\u200b\n6\n".encode(), r"the text \u200b has no letter"),
        (
            "devtest/tam_Taml.devtest",
            b"1\n2\n3\n4\n" + b"a" * 100_000 + b"\n6\n",
            "flores_ta_004: the text has 100000",
        ),
        (
            "devtest/tam_Taml.devtest",
            "1\n\u00e9\n3\n4\ne\u0301 \n6\n".encode(),
            "flores_ta_004: same text as flores_ta_001",
        ),
        ("metadata_devtest.tsv", b"URL\ttopic\nu\n", "line 2: 1 fields"),
    ],
)
def test_a_malformed_flores_folder_is_an_error_of_one_line(root, small, capsys, name, content, said):
    (small / name).unlink()
    if content is not None:
        (small / name).write_bytes(content)
    assert run(root, "--flores-dir", str(small), "--flores-per-language", "4") == 1
    assert_one_line(capsys.readouterr().err, said)
    assert not (root / "data" / "stimulus_manifest.json").exists()


def test_a_flores_folder_that_is_not_there_or_too_small_is_an_error(root, small, capsys):
    assert run(root, "--flores-dir", str(root / "nowhere")) == 1
    assert_one_line(capsys.readouterr().err, "lacks metadata_devtest.tsv")
    assert run(root, "--flores-dir", str(small)) == 1
    assert_one_line(capsys.readouterr().err, "50 FLORES sentences asked for, there are 6")


def without(entry: dict, language: str) -> dict:
    return {**entry, "translations": {k: v for k, v in entry["translations"].items() if k != language}}


@pytest.mark.parametrize(
    ("probes", "said"),
    [
        ("{", "not valid JSON"),
        ("[]", "expected concepts by id"),
        ({"C01": without(concept("fever"), "ta")}, "no translation or no focus in 'ta'"),
        (
            {"C01": {**concept("x"), "translations": {**concept("x")["translations"], "xx": "x"}}},
            "language 'xx'",
        ),
        (
            {"C01": {**concept("x"), "translations": {**concept("x")["translations"], "hi": " "}}},
            "text is empty",
        ),
        ({"C01": {**concept("x"), "focus": dict.fromkeys(LANGUAGES, "y")}}, "no part of its translation"),
        ({"C01": concept("x"), "C02": concept("x")}, "probe_C02_en: same text as probe_C01_en"),
        ({"../C01": concept("x")}, "path separator"),
        ('{"C01": ' + json.dumps(concept("x")).replace("This is x in hi", "\\ud800 x") + "}", "C01"),
    ],
)
def test_a_malformed_probe_file_is_an_error_of_one_line(root, capsys, probes, said):
    write_probes(root, probes)
    assert run(root, "--flores", "none") == 1
    assert_one_line(capsys.readouterr().err, said)
    assert not (root / "data" / "stimulus_manifest.json").exists()


def test_an_unknown_family_is_an_error_of_one_line(root, capsys):
    assert run(root, "--family", "giant-aya") == 1
    assert_one_line(capsys.readouterr().err, "no family 'giant-aya'")


def test_a_broken_lexicon_is_an_error_that_names_it(root, monkeypatch, capsys):
    def broken(meaning, language):
        raise ValueError(f"{language}.toml: a word is missing")

    monkeypatch.setattr(corpus, "render", broken)
    assert run(root, "--family", "nano-aya") == 1
    assert_one_line(capsys.readouterr().err, "en.toml: a word is missing")


@pytest.mark.parametrize(
    "options",
    [
        ["--flores-per-language", "0"],
        ["--flores-per-language", "1013"],
        ["--flores-per-language", "many"],
        ["--flores", "auto", "--flores-dir", "x"],
    ],
)
def test_wrong_usage_ends_with_status_2(root, options):
    with pytest.raises(SystemExit) as stopped:
        run(root, *options)
    assert stopped.value.code == 2


def assert_one_line(err: str, said: str) -> None:
    (line,) = [line for line in err.splitlines() if line.startswith("error:")]
    assert said in line
    assert "Traceback" not in err


# Edge cases


def test_every_edge_case_comes_as_input_clean_form_and_references(root):
    run(root, "--flores", "none")
    manifest = manifest_of(root)
    assert len(manifest.edge) == 5 * 32
    first = manifest.edge[:5]
    names = ["edge_001", "edge_001_clean", "edge_001_en", "edge_001_ar", "edge_001_fr"]
    assert [s.stimulus_id for s in first] == names
    assert [s.role for s in first] == ["input", "clean", "published", "reference", "reference"]
    assert [s.language for s in first] == ["hi", "hi", "en", "ar", "fr"]
    assert (first[0].clean_id, first[0].reference_ids) == ("edge_001_clean", ["edge_001_ar", "edge_001_fr"])
    assert len({s.reference_id for s in first}) == 1
    assert {s.source for s in manifest.edge} == {"written"}
    cases = (REPOSITORY / "p1_edge_cases.json").read_bytes()
    source = manifest.metadata["sources"]["edge"]
    assert source == {"file": "p1_edge_cases.json", "sha256": sha256(cases).hexdigest()}


def test_a_root_may_bring_its_own_edge_cases_and_malformed_ones_are_an_error(root, capsys):
    cases = json.loads((REPOSITORY / "p1_edge_cases.json").read_text(encoding="utf-8"))
    own = root / "p1_edge_cases.json"
    own.write_text(json.dumps(cases[:1]), encoding="utf-8")
    assert run(root, "--flores", "none") == 0
    assert len(manifest_of(root).edge) == 5
    own.write_text(json.dumps([cases[0] | {"clean": cases[0]["input"]}]), encoding="utf-8")
    assert run(root, "--flores", "none") == 1
    assert_one_line(capsys.readouterr().err, "case 1: the clean form is the input itself")
    own.write_text(json.dumps([cases[0] | {"references": {}}]), encoding="utf-8")
    assert run(root, "--flores", "none") == 1
    assert_one_line(capsys.readouterr().err, "P1-001: no `references`")


def test_nano_aya_gets_generated_cases_of_its_held_out_sentences(root, parallel):
    assert run(root, "--family", "nano-aya") == 0
    manifest = manifest_of(root, "nano-aya", "organism/stimulus_manifest.json")
    made = [s for s in manifest.edge if s.source == "generated"]
    counts = manifest.metadata["sources"]["edge"]["generated"]
    assert counts == Counter(s.failure_category for s in made)
    assert counts.keys() == {"code_switching", "transliteration", "unicode_edge"}
    assert min(counts.values()) >= 60
    assert run(root, "--family", "nano-aya", "--parallel", str(parallel)) == 0
    manifest = manifest_of(root, "nano-aya", "organism/stimulus_manifest.json")
    assert {s.source for s in manifest.edge} == {"written"}


# A parallel corpus


@pytest.fixture
def parallel(tmp_path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "README").write_text("not a language")
    write_corpus(folder, {"en": ["One.", "Two.", "Three."], "sw": ["Moja.", "Mbili.", "Tatu."]})
    return folder


def write_corpus(folder: Path, lines: dict[str, list[str]]) -> None:
    for code, own in lines.items():
        (folder / f"{code}.txt").write_bytes(("\n".join(own) + "\n").encode())


def test_a_parallel_corpus_becomes_pairs_by_line(root, parallel, caplog):
    assert run(root, "--flores", "none", "--parallel", str(parallel)) == 0
    manifest = manifest_of(root)
    pairs = manifest.matched("parallel", "sw")
    assert [(a.text, b.text) for a, b in pairs] == [
        ("One.", "Moja."),
        ("Two.", "Mbili."),
        ("Three.", "Tatu."),
    ]
    assert [a.meaning_id for a, _ in pairs] == ["1", "2", "3"]
    assert not manifest.matched("parallel", "hi")
    source = manifest.metadata["sources"]["parallel"]
    assert source["files"]["sw.txt"] == sha256((parallel / "sw.txt").read_bytes()).hexdigest()
    assert source["dropped"] == {"blank": 0, "contradictory": 0, "duplicate": 0}
    assert "dropped" not in caplog.text
    assert all(s.groups == {} for s in manifest.parallel)
    assert "no groups.txt or ids.txt; each line counts as independent" in caplog.text


def test_blank_and_repeated_lines_are_dropped_in_all_languages_and_counted(root, parallel, caplog):
    lines = {
        "en": ["One.", "Two.", "", "Four.", "Five.", "Two.", "Four.", "Eight."],
        "sw": ["Moja.", "...", "Tatu.", "Nne.", "Moja.", "Sita.", "Ya nne.", "Nane."],
    }
    write_corpus(parallel, lines)
    assert run(root, "--flores", "none", "--parallel", str(parallel)) == 0
    manifest = manifest_of(root)
    # Lines 2 and 3 are blank on one side. 5 says in Swahili what 1 says, and in English another thing: one of
    # the two is no translation. 6 repeats a line that was dropped, 7 one that was kept.
    assert [s.meaning_id for s in manifest.parallel if s.language == "en"] == ["4", "6", "8"]
    source = manifest.metadata["sources"]["parallel"]
    assert source["dropped"] == {"blank": 2, "contradictory": 2, "duplicate": 1}
    assert source["contradictory"] == {"sw": [1, 5]}
    assert source["lines"] == 8
    assert "2 blank, 2 contradictory, 1 duplicate" in caplog.text
    assert "sw: 2 lines say what another says whose English differs" in caplog.text


def test_typographic_twins_are_the_same_line(root, parallel):
    lines = {
        "en": [
            "The child\u2019s fever \u2013 high.",
            "the child's  fever - high.",
            "\uff34\uff48\uff52\uff45\uff45.",
        ],
        "sw": ["Homa.", "HOMA.", "Tatu."],
    }
    write_corpus(parallel, lines)
    assert run(root, "--flores", "none", "--parallel", str(parallel)) == 0
    assert [s.meaning_id for s in manifest_of(root).parallel if s.language == "en"] == ["1", "3"]


@pytest.mark.parametrize(
    ("name", "content", "groups"),
    [
        ("groups.txt", "a\na\nb b\n", ["a", "a", "b b"]),
        ("ids.txt", "wiki:9:1\nwiki:9:2\nalone\n", ["wiki:9", "wiki:9", "alone"]),
    ],
)
def test_lines_that_belong_together_say_so(root, parallel, caplog, name, content, groups):
    (parallel / name).write_text(content)
    assert run(root, "--flores", "none", "--parallel", str(parallel)) == 0
    manifest = manifest_of(root)
    for language in ("en", "sw"):
        assert [s.groups for s in manifest.parallel if s.language == language] == [
            {"document": g} for g in groups
        ]
    assert name in manifest.metadata["sources"]["parallel"]["files"]
    assert "independent" not in caplog.text


@pytest.fixture
def raw_tico(tmp_path) -> Path:
    """TICO-19 as it was published, a file for each language, from the embedded one."""
    folder, corpus = tmp_path / "tico19", tico.read()
    folder.mkdir()
    for name, lines in {"ids": corpus.ids, **corpus.lines}.items():
        (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder


def test_tico_as_a_parallel_corpus_comes_with_its_documents_and_its_wrong_lines_are_found(root, raw_tico):
    """The auditor names them, although what is measured is without them."""
    assert run(root, "--flores", "none", "--parallel", str(raw_tico)) == 0
    manifest = manifest_of(root)
    documents = [s.groups["document"] for s in manifest.parallel if s.language == "en"]
    assert len(set(documents)) == 31
    source = manifest.metadata["sources"]["parallel"]
    assert len(documents) == 2600 - sum(source["dropped"].values())
    found = audit(Evidence(sources=manifest.metadata["sources"]))
    of = {finding.id: finding for finding in found}
    assert {"contradictory/parallel/fr", "contradictory/tico/fr"} <= of.keys()
    french = of["contradictory/parallel/fr"]
    assert "242 of 2600 fr lines (parallel)" in french.evidence["sentence"]
    assert french.evidence["share"] == pytest.approx(2 * 121 / 2600)
    twice = {f"{number}" for number in french.evidence["first"]}
    assert not twice & {s.meaning_id for s in manifest.parallel}


def test_only_a_line_feed_ends_a_line(root, parallel):
    write_corpus(parallel, {"en": ["One\u2028and a half.", "Two.\r", "Three."]})
    assert run(root, "--flores", "none", "--parallel", str(parallel)) == 0
    texts = [s.text for s in manifest_of(root).parallel if s.language == "en"]
    assert texts == ["One\u2028and a half.", "Two.", "Three."]


def test_a_parallel_corpus_takes_the_place_of_the_held_out_meanings(root, parallel):
    assert run(root, "--family", "nano-aya", "--parallel", str(parallel)) == 0
    manifest = manifest_of(root, "nano-aya", "organism/stimulus_manifest.json")
    assert len(manifest.parallel) == 6


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("sw.txt", b"Moja.\nMbili.\n", "sw.txt has 2 lines and en.txt 3"),
        ("xx.txt", b"a\nb\nc\n", "xx.txt: not one of en, hi"),
        ("sw.txt", b"\xff\n\n\n", "sw.txt is not UTF-8"),
        ("sw.txt", None, "needs en.txt and at least one other"),
        ("en.txt", None, "needs en.txt and at least one other"),
        ("sw.txt", b"\n\n\n", "no line says something in all of en, sw"),
        ("groups.txt", b"a\na\n", "groups.txt has 2 lines and en.txt 3"),
        ("groups.txt", b"a\n\nb\n", "groups.txt, line 2: empty"),
    ],
)
def test_a_malformed_parallel_corpus_is_an_error_of_one_line(root, parallel, capsys, name, content, said):
    (parallel / name).unlink(missing_ok=True)
    if content is not None:
        (parallel / name).write_bytes(content)
    assert run(root, "--flores", "none", "--parallel", str(parallel)) == 1
    assert_one_line(capsys.readouterr().err, said)
    assert not (root / "data" / "stimulus_manifest.json").exists()
