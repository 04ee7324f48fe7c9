"""What every state says of every prompt: mass by script, mass of the words, and entropy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from probe import positions
from probe.languages import LANGUAGES
from probe.lens.prompts import Prompt, build_prompts
from probe.lens.vocabulary import (
    COLUMNS,
    Starts,
    Vocabulary,
    first_tokens,
    focus_words,
    indicator,
    read_vocabulary,
    tell_apart,
)
from probe.models.head import find_head, lens_probabilities
from probe.models.hooks import find_blocks
from probe.stimuli.manifest import ProbeSentence

if TYPE_CHECKING:
    import torch


def measure_with(
    vocabulary: Vocabulary, sets: Sequence[frozenset[int]], device: Any
) -> Callable[["torch.Tensor"], tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """A function from probabilities (m, vocab) to mass by script (m, n_scripts), mass of each set of tokens
    (m, n_sets), and entropy in bits (m,); float32."""
    import torch

    of_script = torch.tensor(vocabulary.script_ids, device=device)
    tokens, matrix = (torch.tensor(part, device=device) for part in indicator(sets))

    def measure(probabilities):
        scripts = torch.zeros(len(probabilities), len(COLUMNS), device=device)
        scripts.index_add_(1, of_script, probabilities)
        entropy = torch.special.entr(probabilities).sum(-1) / np.log(2)
        return scripts.cpu().numpy(), (probabilities[:, tokens] @ matrix).cpu().numpy(), entropy.cpu().numpy()

    return measure


@dataclass(frozen=True)
class Masses:
    """What the lens says of every prompt.

    p_script (n_prompts, n_states, n_scripts), columns COLUMNS; p_word (n_prompts, n_states, n_concepts,
    n_languages): mass of the tokens that each concept's word can begin with; entropy_bits (n_prompts,
    n_states). starts: the tokens, by concept and language.
    """

    prompts: list[Prompt]
    starts: Starts
    p_script: np.ndarray
    p_word: np.ndarray
    entropy_bits: np.ndarray

    def apart(self, prompt: Prompt, *languages: str) -> bool:
        """Whether the words of the languages compared, and of these, differ in their first token."""
        return tell_apart(self.starts[prompt.concept_id], dict.fromkeys((*prompt.compared, *languages)))


def measure(model, tokenizer, probes: Sequence[ProbeSentence]) -> Masses:
    """Every prompt of the probes, in one model with its head."""
    prompts = build_prompts(probes)
    head = find_head(model)
    vocabulary = read_vocabulary(tokenizer, head.unembed.weight.shape[0])
    starts = first_tokens(vocabulary, focus_words(probes))
    sets = [starts[concept][language] for concept in starts for language in LANGUAGES]
    masses = measure_with(vocabulary, sets, head.unembed.weight.device)
    token_ids, reads = locate(tokenizer, prompts)
    n_states = len(find_blocks(model)) + 1
    p_script = np.empty((len(prompts), n_states, len(COLUMNS)), np.float32)
    p_word = np.empty((len(prompts), n_states, len(sets)), np.float32)
    entropy = np.empty((len(prompts), n_states), np.float32)
    pad = tokenizer.pad_token_id or 0
    for row, state, probabilities in lens_probabilities(model, head, token_ids, reads, pad):
        p_script[row, state], p_word[row, state], entropy[row, state] = masses(probabilities)
    p_word = p_word.reshape(len(prompts), n_states, len(starts), len(LANGUAGES))
    return Masses(prompts, starts, p_script, p_word, entropy)


def locate(tokenizer, prompts: Sequence[Prompt]) -> tuple[list[list[int]], list[tuple[int, int]]]:
    """Token ids of each text, which several prompts may share, and for each prompt its text and the token to
    read; a prompt without a focus ends where it is read."""
    focus = {prompt.text: prompt.focus for prompt in prompts}
    token_ids, index = positions.tokenize(tokenizer, list(focus), list(focus.values()))
    place = {text: i for i, text in enumerate(focus)}
    at = {text: index[i] for text, i in place.items()}
    return token_ids, [(place[p.text], at[p.text].get(p.position, at[p.text]["last"])) for p in prompts]
