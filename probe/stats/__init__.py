"""Statistics that know nothing of this project: resampling, and measures of two sets of vectors."""
