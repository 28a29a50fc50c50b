"""The error that a person can act on."""


class RunError(RuntimeError):
    """Its message is one clear sentence that says what to do; the `wmcourse` command prints it and stops."""
