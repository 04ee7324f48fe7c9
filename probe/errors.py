"""Errors that a user can mend."""


class ProbeError(ValueError):
    """The message is one line that names what is wrong and, where there is one, the command that helps."""


class MissingActivations(ProbeError):  # noqa: N818 - says what is the case, as FileNotFoundError's kin do
    """Activations that an analysis needs are not there, or not all of them."""
