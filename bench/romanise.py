"""The project's own sentences in Latin letters: what the router learns letter-by-letter romanisation from.

Reads   data/concept_probes.json, organism/lexicon/
Writes  data/romanised_uroman.json
Run     uv run bench/romanise.py     (20 probe sentences and 60 of the organism's in each language; 10 s)

Hindi, Bengali, Tamil, Amharic and Arabic by uroman (Hermjakob et al. 2018); Yoruba without its marks.
"""

import argparse
import random
from collections.abc import Sequence

from organism.corpus import meanings, render
from probe.files import sha256, to_json, write_bytes
from probe.languages import LANGUAGES
from probe.paths import Paths
from probe.routing.identify import NATIVE, UROMAN, folded
from probe.stimuli.manifest import load_concepts

N_MEANINGS = 60  # more would teach the organism's few hundred words rather than the language
SEED = 5


def sentences(language: str, paths: Paths) -> list[str]:
    probes = [concept.translations[language] for concept in load_concepts(paths.concept_probes).values()]
    sampled = random.Random(SEED).sample(meanings(), N_MEANINGS)
    return probes + [render(meaning, language) for meaning in sampled]


def main(argv: Sequence[str] | None = None) -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args(argv)
    import uroman

    paths, romaniser = Paths(), uroman.Uroman()
    romanised = {
        code: [
            str(romaniser.romanize_string(s, lcode=LANGUAGES[code].flores[:3]))
            for s in sentences(code, paths)
        ]
        for code in NATIVE
    }
    romanised["yo"] = [folded(s) for s in sentences("yo", paths)]
    metadata = {"romaniser": "uroman", "inputs": {paths.name(p): sha256(p) for p in [paths.concept_probes]}}
    path = write_bytes(paths.root / UROMAN, to_json({"metadata": metadata, "sentences": romanised}, indent=1))
    print(f"{path}: {sum(map(len, romanised.values()))} sentences")


if __name__ == "__main__":
    main()
