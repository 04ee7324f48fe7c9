"""The shared library: formats, statistics and metrics. No command line lives here."""
