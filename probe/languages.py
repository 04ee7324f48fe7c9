"""The ten languages, and what every stage may need to know of one."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Language:
    code: str  # ISO 639-1
    name: str  # in English
    autonym: str  # as its speakers write it
    script: str  # value of the Unicode Script property
    flores: str  # file stem in FLORES-200
    final_mark: str  # what ends a declarative sentence


PIVOT = "en"

LANGUAGES: dict[str, Language] = {
    language.code: language
    for language in (
        Language("en", "English", "English", "Latin", "eng_Latn", "."),
        Language("hi", "Hindi", "हिन्दी", "Devanagari", "hin_Deva", "।"),
        Language("bn", "Bengali", "বাংলা", "Bengali", "ben_Beng", "।"),
        Language("sw", "Swahili", "Kiswahili", "Latin", "swh_Latn", "."),
        Language("am", "Amharic", "አማርኛ", "Ethiopic", "amh_Ethi", "።"),
        Language("fr", "French", "Français", "Latin", "fra_Latn", "."),
        Language("es", "Spanish", "Español", "Latin", "spa_Latn", "."),
        Language("ar", "Arabic", "العربية", "Arabic", "arb_Arab", "."),
        Language("yo", "Yoruba", "Yorùbá", "Latin", "yor_Latn", "."),
        Language("ta", "Tamil", "தமிழ்", "Tamil", "tam_Taml", "."),
    )
}

TARGETS: tuple[str, ...] = tuple(code for code in LANGUAGES if code != PIVOT)


def label(code: str) -> str:
    """The name for a figure or a table: ``Hindi (hi)``."""
    return f"{LANGUAGES[code].name} ({code})"
