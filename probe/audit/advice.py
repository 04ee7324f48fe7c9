"""For each finding, in a newcomer's words, what to do about it. Keyed by what its id begins with."""

ADVICE: dict[str, str] = {
    "constant_final_token": "Read at `mean` or `content` instead of `last`, or take the final mark off every text.",
    "constant_over_concepts": "Leave this state out: one value for all sentences is a token's, not a meaning's.",
    "post_norm_state": "Extract again with states read before the final norm, as batch_runner.py does.",
    "last_state_may_be_post_norm": "Ask the authors whether the last state is after the norm; until then leave it out.",
    "at_ceiling": "Use more or harder sentences: this measure cannot get better than it is here.",
    "foreign_sentences": "Look at the sentences named and put the right language's file in their place.",
    "untranslated": "Have the sentences named translated: they are the pivot's own text.",
    "repeated": "Keep one of the sentences that share a text; one of the two is probably a wrong translation.",
    "contradictory": "Compare these lines with their English: about half are wrong, and others of the same file may be.",
    "line_offset": "Line the two files up again: from the line named on, translations stand beside the wrong sentences.",
    "mismatched_pairs_match": "Read the centred cosine: in this space any two sentences are alike.",
    "scale_dependent": "Read the centred cosine: these differences go when each language's mean is taken away.",
    "too_few_groups": "Add sentences from other documents or of other frames: at least 8 independent groups and 10 meanings.",
    "not_significant": "Do not report these rows as effects; bench/power.csv says how many sentences would show one.",
    "nothing_without_shared": "Try sentences that share no names, numbers or tokens: what is here may be those.",
    "mostly_shared": "Report the partial measure beside it: most of the level is what the sentences share on the surface.",
    "retrieval_at_chance": "Do not speak of alignment: the translation is not found among the other sentences.",
    "few_directions": "Look at what those few directions code (length, position, topic); confounders.csv has dims_top and pcs_top.",
    "topic_only": "Compare within a topic or document: what is here tells topics apart, not meanings.",
    "not_beyond_untrained": "Train or choose another measure: a network of this shape with random weights scores as high.",
    "not_corroborated": "Look at both measures: the ranks move the other way, so one of them is misled.",
    "placebo_language": "Read it as the size of what is not regional; it is a control, not a result.",
    "not_beyond_placebos": "Do not call it regional: a language that was not emphasised changed as much.",
    "not_regional": "Describe no single language as regional until the variant passes over all of its languages.",
    "depends_on_one_placebo": "Look at regional.csv: leaving out one placebo language turns the effect around.",
    "level_not_claimed": "See why the level at this peak cannot be claimed; the peak falls with it.",
    "effect_not_claimed": "See why the effect itself cannot be claimed; other measures of it fall with it.",
    "no_rise": "Do not name a peak: the curve is as high elsewhere.",
    "not_lost": "Do not call it lost: it gained, only less than the language's other concepts did.",
    "english_moved": "Look at the English sentence: most languages lost it at once, so none of them did.",
    "rank_saturated": "Say that the claim rests on one measure: ranks are at their ceiling or at chance in both variants.",
    "no_untrained_control": "Run uv run untrained_control.py for this family, then this stage again.",
    "no_null": "Ask for the activations: without mismatched pairs a cosine shows nothing.",
    "untrained_control": "Read it as what chance and shared tokens alone can give.",
    "comparison": "Read it beside the primary measure; no claim rests on it.",
}


def advice(finding: str) -> str:
    """What to do about a finding, by its id. Raises KeyError for one that nobody gave advice for."""
    return ADVICE[finding.split("/")[0]]
