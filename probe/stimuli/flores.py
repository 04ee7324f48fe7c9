"""FLORES-200 devtest: reading it from where it can be had, and choosing its sentences on health.

Licence of the sentences: CC-BY-SA-4.0. What the official layout is: devtest/{code}.devtest holds one
sentence per line, line i of every file says the same thing; metadata_devtest.tsv holds their topics.
"""

import http.client
import logging
import os
import re
import shutil
import tarfile
import urllib.request
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from probe.errors import ProbeError
from probe.files import digest, sha256
from probe.languages import LANGUAGES, PIVOT
from probe.stimuli.manifest import FloresSentence

logger = logging.getLogger(__name__)

LICENCE = "CC-BY-SA-4.0"
CITATION = (
    "NLLB Team et al. 2022, No Language Left Behind: Scaling Human-Centered Machine Translation, "
    "arXiv:2207.04672"
)
N_SENTENCES = 1012  # of the devtest split, in every language
N_DEFAULT = 50

METADATA = "metadata_devtest.tsv"
DEVTEST = {code: f"devtest/{language.flores}.devtest" for code, language in LANGUAGES.items()}

ARCHIVE_URL = "https://dl.fbaipublicfiles.com/nllb/flores200_dataset.tar.gz"
ARCHIVE_SHA256 = "b8b0b76783024b85797e5cc75064eb83fc5288b41e9654dabc7be6ae944011f6"
ARCHIVE_FOLDER = PurePosixPath("flores200_dataset")
MIRROR = "mteb/flores"  # ungated, but known to carry no topics
FLORES_PLUS = "openlanguagedata/flores_plus"  # gated; the maintained successor
TIMEOUT_S = 30

# Topic labels of the metadata, casefolded. Left out after a look at the sentences under them:
# science/radiography (binary numbers), science/parasitic insects, accident, research.
HEALTH_TOPICS = frozenset(
    {"health", "disease", "science/disease", "science/first aid", "science/sexual health"}
)
# Not here, because FLORES uses them mostly in another sense: patient, treatment, drug, outbreak, injured.
HEALTH_KEYWORDS = (
    "bacteria", "cancer", "cholera", "cough", "dehydration", "diabetes", "diarrhea", "diarrhoea",
    "disease", "diseases", "doctor", "doctors", "epidemic", "fever", "health", "healthy", "hospital",
    "hospitals", "hospitalised", "hospitalized", "illness", "infected", "infection", "infections",
    "infectious", "malaria", "medical", "medication", "medicine", "medicines", "newborn", "nurse",
    "nurses", "pain", "patients", "physician", "physicians", "pregnancy", "pregnant", "sick", "sickness",
    "symptom", "symptoms", "tuberculosis", "vaccine", "vaccines", "virus", "viruses",
)  # fmt: skip
KEYWORD = re.compile(rf"\b(?:{'|'.join(HEALTH_KEYWORDS)})\b", re.IGNORECASE)


@dataclass(frozen=True)
class Flores:
    """The devtest split in ten languages; entry i of every list is the same sentence."""

    sentences: dict[str, list[str]]  # by language code
    topics: list[str]  # comma-separated labels as published; "" where the source has none
    articles: list[str]  # the address of the page that a sentence is from; likewise

    @property
    def sha256(self) -> str:
        """Of the sentences alone, so that two sources can be seen to hold the same ones."""
        lines = (line for code in LANGUAGES for line in self.sentences[code])
        return digest("\n".join(lines).encode())


def from_folder(folder: Path) -> Flores:
    """The official layout. Raises ProbeError for what is missing, empty, or of unequal length."""
    contents = {}
    for name in (METADATA, *DEVTEST.values()):
        try:
            contents[name] = (folder / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ProbeError(f"{folder} lacks {name} of the official FLORES-200 layout") from error
    return _official(contents, str(folder))


def from_archive(cache: Path) -> Flores:
    """The official archive, downloaded into `cache` unless it lies there undamaged.

    Raises ProbeError where it cannot be had, or is not the archive of the recorded sha256.
    """
    archive = cache / "flores200_dataset.tar.gz"
    if not archive.exists() or sha256(archive) != ARCHIVE_SHA256:
        _download(archive)
    # Members are read into memory and never extracted: no name in the archive can become a path here.
    contents = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            name = PurePosixPath(member.name)
            if member.isreg() and name.is_relative_to(ARCHIVE_FOLDER):
                relative = str(name.relative_to(ARCHIVE_FOLDER))
                if relative == METADATA or relative in DEVTEST.values():
                    contents[relative] = tar.extractfile(member).read()  # type: ignore[union-attr]
    if missing := {METADATA, *DEVTEST.values()} - contents.keys():
        raise ProbeError(f"the archive lacks {min(missing)}")
    return _official(contents, archive.name)


def _download(archive: Path) -> None:
    partial = archive.with_name(f"{archive.name}.{os.getpid()}.partial")
    logger.info("downloading %s (25 MB)", ARCHIVE_URL)
    try:
        with urllib.request.urlopen(ARCHIVE_URL, timeout=TIMEOUT_S) as response:
            archive.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                shutil.copyfileobj(response, file)
        if sha256(partial) != ARCHIVE_SHA256:
            raise ProbeError("what was downloaded is not the official archive: its sha256 differs")
        partial.replace(archive)
    except (OSError, http.client.HTTPException) as error:
        raise ProbeError(f"the archive could not be downloaded ({type(error).__name__})") from error
    finally:
        partial.unlink(missing_ok=True)


def from_mirror() -> Flores:
    """The ungated copy on the hub: one row per sentence, one column per language."""
    rows = _load(MIRROR)
    sentences = {}
    for code, language in LANGUAGES.items():
        # Both spellings are in use among copies of FLORES-200.
        spellings = (language.flores, f"sentence_{language.flores}")
        column = next((name for name in spellings if name in rows.column_names), None)
        if column is None:
            raise ProbeError(f"no column for {language.name}: neither {' nor '.join(spellings)}")
        sentences[code] = _sentences(rows[column], f"column {column}")
    return _aligned(sentences, _column(rows, "topic"), _column(rows, "URL"), MIRROR, N_SENTENCES)


def from_flores_plus() -> Flores:
    """FLORES+, one configuration per language, with the token that huggingface_hub finds."""
    from huggingface_hub import get_token

    token = get_token()
    if token is None:
        raise ProbeError(f"no token: accept the licence of {FLORES_PLUS} on its page, then set HF_TOKEN")
    sentences, identifiers, topics, articles = {}, {}, None, None
    for code, language in LANGUAGES.items():
        rows = _load(FLORES_PLUS, language.flores, token)
        if missing := {"id", "text"} - set(rows.column_names):
            raise ProbeError(f"{language.flores} has no column {min(missing)}")
        ids, texts = list(rows["id"]), list(rows["text"])
        order = sorted(range(len(ids)), key=ids.__getitem__)
        identifiers[code] = [ids[row] for row in order]
        sentences[code] = _sentences((texts[row] for row in order), language.flores)
        if code == PIVOT:
            topics, articles = (_column(rows, name, order) for name in ("topic", "url"))
        if identifiers[code] != identifiers[PIVOT]:
            raise ProbeError(f"{language.flores} has other sentence ids than {LANGUAGES[PIVOT].flores}")
    return _aligned(sentences, topics, articles, FLORES_PLUS, N_SENTENCES)


def _column(rows: Any, name: str, order: Iterable[int] | None = None) -> list | None:
    """None where the source has no such column."""
    if name not in rows.column_names:
        return None
    values = list(rows[name])
    return [values[row] for row in order] if order is not None else values


def _load(dataset: str, config: str | None = None, token: str | None = None) -> Any:
    logger.info("asking the hub for %s", " ".join(filter(None, (dataset, config))))
    try:
        from datasets import load_dataset

        # Each of its retries would be a line, said twice; what became of them is said once, by find().
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
        return load_dataset(dataset, config, split="devtest", token=token)
    except Exception as error:  # the library has no common type for a hub that is out of reach or gated
        # With a token, the cause is dropped: a library's message may quote the request that carries it.
        cause = None if token else error
        raise ProbeError(f"{dataset} could not be loaded ({type(error).__name__})") from cause


def _official(contents: dict[str, bytes], where: str) -> Flores:
    sentences = {
        code: _sentences(_lines(contents[name], f"{where}: {name}"), f"{where}: {name}")
        for code, name in DEVTEST.items()
    }
    topics, articles = _metadata(contents[METADATA], f"{where}: {METADATA}")
    return _aligned(sentences, topics, articles, where)


def _lines(content: bytes, where: str) -> list[str]:
    try:
        # Not splitlines(): Unicode has line separators that may stand inside a sentence.
        lines = content.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ProbeError(f"{where} is not UTF-8") from error
    return lines if lines[-1] else lines[:-1]


def _metadata(content: bytes, where: str) -> tuple[list[str], list[str]]:
    """Topics and articles, one of each per sentence."""
    header, *rows = ([cell.strip() for cell in line.split("\t")] for line in _lines(content, where) or [""])
    if missing := [name for name in ("topic", "URL") if name not in header]:
        raise ProbeError(f"{where} has no column '{missing[0]}'")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise ProbeError(f"{where}, line {number}: {len(row)} fields, the header has {len(header)}")
    topic, article = header.index("topic"), header.index("URL")
    return [row[topic] for row in rows], [row[article] for row in rows]


def _sentences(values: Iterable[object], where: str) -> list[str]:
    """Without the blanks at the ends, which some lines carry and which would be read as a last token."""
    sentences = []
    for number, value in enumerate(values, start=1):
        if not isinstance(value, str) or not value.strip():
            raise ProbeError(f"{where}: sentence {number} is empty")
        sentences.append(value.strip())
    return sentences


def _aligned(
    sentences: dict[str, list[str]],
    topics: list | None,
    articles: list | None,
    where: str,
    n: int | None = None,
) -> Flores:
    """Raises ProbeError unless every language, and what is known of the sentences, counts the same."""
    n = n or len(sentences[PIVOT])
    if not n:
        raise ProbeError(f"{where} holds no sentence")
    for code, lines in sentences.items():
        if len(lines) != n:
            raise ProbeError(f"{where}: {LANGUAGES[code].flores} has {len(lines)} sentences, expected {n}")
    for what, values in (("topics", topics), ("articles", articles)):
        if values is not None and len(values) != n:
            raise ProbeError(f"{where}: {len(values)} {what} for {n} sentences")
    return Flores(
        sentences, *([value or "" for value in values or [""] * n] for values in (topics, articles))
    )


def find(cache: Path) -> tuple[Flores | None, list[dict[str, str]]]:
    """The first source that works, and what was tried: {"source", "outcome"}, in order.

    Outcomes hold nothing that changes from run to run or from machine to machine; the log says more.
    """
    tried, log = [], []
    sources = {ARCHIVE_URL: lambda: from_archive(cache), MIRROR: from_mirror, FLORES_PLUS: from_flores_plus}
    for source, read in sources.items():
        try:
            flores = read()
        except (ProbeError, OSError, tarfile.TarError) as error:
            outcome = str(error) if isinstance(error, ProbeError) else f"unreadable ({type(error).__name__})"
            tried.append({"source": source, "outcome": outcome})
            log.append(f"{source}: {outcome}{_because(error)}")
        else:
            logger.info("; ".join([*log, f"FLORES-200 read from {source}"]))
            return flores, [*tried, {"source": source, "outcome": "used"}]
    logger.warning("no FLORES-200 sentences, no source works: %s", "; ".join(log))
    return None, tried


def _because(error: Exception) -> str:
    cause = error.__cause__ if isinstance(error, ProbeError) else error
    first_line = next(iter(str(cause or "").strip().splitlines()), "")
    return f" [{first_line[:200]}]" if first_line else ""


def select(english: Sequence[str], topics: Sequence[str], n: int) -> list[tuple[int, str]]:
    """n sentence indices and why each was chosen, in order of choice: topic, keyword, then the rest.

    Within each group by index, so that a smaller n gives the beginning of a larger one. The reasons are
    "topic:<label>", "keyword:<word of the English sentence>", and "fill:index" once health has run out.
    Raises ProbeError where there are fewer than n sentences.
    """
    if n > len(english):
        raise ProbeError(f"{n} FLORES sentences asked for, there are {len(english)}: --flores-per-language")
    by_topic = {i: f"topic:{label}" for i, topic in enumerate(topics) if (label := _health_topic(topic))}
    by_keyword = {
        i: f"keyword:{match[0].casefold()}"
        for i, sentence in enumerate(english)
        if i not in by_topic and (match := KEYWORD.search(sentence))
    }
    rest = {i: "fill:index" for i in range(len(english)) if i not in by_topic and i not in by_keyword}
    return list(islice({**by_topic, **by_keyword, **rest}.items(), n))


def _health_topic(topic: str) -> str | None:
    labels = (label.strip().casefold() for label in topic.split(","))
    return next((label for label in labels if label in HEALTH_TOPICS), None)


def stimuli(flores: Flores, n: int) -> list[FloresSentence]:
    """n sentences in each language, the same ones in all, sentence by sentence."""
    return [
        FloresSentence(
            stimulus_id=f"flores_{code}_{index:03d}",
            language=code,
            text=flores.sentences[code][index],
            flores_index=index,
            topic=flores.topics[index],
            selected_by=reason,
            groups={"article": flores.articles[index]} if flores.articles[index] else {},
        )
        for index, reason in select(flores.sentences[PIVOT], flores.topics, n)
        for code in LANGUAGES
    ]
