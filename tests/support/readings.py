"""Readings of a lens with made-up numbers, in the form that logit_lens_examples.json has."""

import numpy as np

from probe.languages import LANGUAGES


def reading(text: str, n_states: int, seed: int = 0, depth: int = 10) -> dict:
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.ones(len(LANGUAGES) + 1), size=n_states)[:, :-1].round(6)
    return {
        "text": text,
        "p_lang": dict(zip(LANGUAGES, shares.T.tolist(), strict=True)),
        "p_script": {"Latin": [0.6] * n_states, "other": [0.4] * n_states},
        "entropy_bits": rng.uniform(1, 10, n_states).round(3).tolist(),
        "top": [
            [[f" t{state}.{rank}", 0.5 / (rank + 1)] for rank in range(depth)] for state in range(n_states)
        ],
        "shared": 0.2,
    }
