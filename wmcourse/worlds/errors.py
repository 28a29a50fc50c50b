"""The error of every world."""


class WorldError(ValueError):
    """Its message is one clear sentence that says what to do."""
