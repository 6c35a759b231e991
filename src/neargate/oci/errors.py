"""What can go wrong with an image. Raised by client.py and images.py; node/runner shows it to the user."""


class ImageError(Exception):
    """`stopped_reason` is what the task says: `code` and `reason`."""

    code = "CannotPullContainerError"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    @property
    def stopped_reason(self) -> str:
        return f"{self.code}: {self.reason}"


class NoCredentials(ImageError):
    """The registry was not asked: the credentials that the task names cannot be read."""

    code = "ResourceInitializationError"


class Interrupted(ImageError):
    """The transfer broke; going on from where it stopped may help."""
