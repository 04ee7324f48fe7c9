"""What each state would say after one text, for a page that shows it state by state.

Source: nostalgebraist 2020, "Interpreting GPT: the logit lens".
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from probe import positions
from probe.errors import ProbeError
from probe.lens.measure import measure_with
from probe.lens.prompts import Prompt
from probe.lens.vocabulary import COLUMNS, Words, exclusive_tokens, first_tokens, focus_words, read_vocabulary
from probe.models.head import Head, find_head, lens_probabilities
from probe.paths import Paths
from probe.stimuli.manifest import load_concepts, probe_sentences

if TYPE_CHECKING:
    import torch

EXAMPLES = ("C06", "C10")  # concepts of the page's examples, where the manifest has them
EXAMPLE_LANGUAGES = ("hi", "sw", "fr")


@dataclass(frozen=True)
class TextLens:
    """One text, read at its last token, state by state.

    p_lang    (n_states, n_languages): mass of the tokens that words of the language begin with, and words of
              no other language; the rest of the vocabulary is in none
    p_script  (n_states, n_scripts): mass by script; rows sum to 1
    tokens    per state the likeliest (token, probability)
    """

    text: str
    languages: list[str]
    scripts: list[str]
    p_lang: np.ndarray
    p_script: np.ndarray
    entropy_bits: np.ndarray
    tokens: list[list[tuple[str, float]]]
    shared: float  # share of the words' first tokens that is left out, being of two languages

    def payload(self, digits: int = 3) -> dict[str, Any]:
        """For JSON, rounded to significant digits."""

        def rounded(values: Iterable[float]) -> list[float]:
            return [float(f"{value:.{digits}g}") for value in values]

        return {
            "text": self.text,
            "p_lang": dict(zip(self.languages, map(rounded, self.p_lang.T), strict=True)),
            "p_script": dict(zip(self.scripts, map(rounded, self.p_script.T), strict=True)),
            "entropy_bits": rounded(self.entropy_bits),
            "top": [[[token, *rounded([p])] for token, p in state] for state in self.tokens],
            "shared": rounded([self.shared])[0],
        }


def read_text(
    model: Any,
    tokenizer: Any,
    text: str,
    words: Words | None = None,
    top: int = 10,
    head: Head | None = None,
) -> TextLens:
    """What each state at the text's last token would say next.

    model: with its head; head: what `find_head` gave for it, where that is at hand. words: concept id ->
    language -> word, by which languages are told (default: the focus words of data/concept_probes.json).
    Raises ValueError for a text without content, ProbeError for one longer than the model's positions.
    """
    head = head or find_head(model)
    token_ids, index = positions.tokenize(tokenizer, [text])
    longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if longest and len(token_ids[0]) > longest:
        raise ProbeError(f"the text has {len(token_ids[0])} tokens, and the model reads {longest} at most")
    vocabulary = read_vocabulary(tokenizer, head.unembed.weight.shape[0])
    words = words or focus_words(probe_sentences(load_concepts(Paths().concept_probes)))
    sets, shared = exclusive_tokens(first_tokens(vocabulary, words))
    measure = measure_with(vocabulary, list(sets.values()), head.unembed.weight.device)
    script, language, entropy, tokens = [], [], [], []
    for *_, probabilities in lens_probabilities(model, head, token_ids, [(0, index[0]["last"])]):
        for kept, measured in zip((script, language, entropy), measure(probabilities), strict=True):
            kept.append(measured)
        tokens += _likeliest(tokenizer, probabilities, top)
    p_lang, p_script = np.concatenate(language), np.concatenate(script)
    return TextLens(
        text, list(sets), list(COLUMNS), p_lang, p_script, np.concatenate(entropy), tokens, shared
    )


def _likeliest(tokenizer: Any, probabilities: "torch.Tensor", top: int) -> list[list[tuple[str, float]]]:
    values, ids = (part.tolist() for part in probabilities.topk(min(top, probabilities.shape[-1])))
    return [
        [(tokenizer.decode([i]), value) for i, value in zip(*state, strict=True)]
        for state in zip(ids, values, strict=True)
    ]


def read_examples(model, tokenizer, variant: str, prompts: Sequence[Prompt]) -> list[dict]:
    """What the page shows without a model: some prompts, read as `read_text` reads any text."""
    head = find_head(model)
    chosen = [
        prompt
        for prompt in prompts
        if prompt.concept_id in EXAMPLES
        and prompt.language in EXAMPLE_LANGUAGES
        and prompt.position in ("before_focus", "last")
    ]
    return [
        {
            "id": f"{prompt.stimulus_id}_{prompt.position}",
            "variant": variant,
            "kind": prompt.kind,
            "language": prompt.language,
            "source": prompt.source,
            "concept_id": prompt.concept_id,
            **read_text(model, tokenizer, prompt.text, head=head).payload(),
        }
        for prompt in chosen
    ]
