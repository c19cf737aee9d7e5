"""The error that ends a build."""


class BuildError(Exception):
    """A build cannot continue; the message says what to do."""
