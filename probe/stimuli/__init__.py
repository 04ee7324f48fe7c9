"""Which sentences are measured: the manifest, and where its sentences come from."""
