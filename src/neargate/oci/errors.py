"""What can go wrong with an image. Raised by client.py and images.py; node/runner shows it to the user."""


class ImageError(Exception):
    """`reason` follows "CannotPullContainerError: " in the task's stopped reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Interrupted(ImageError):
    """The transfer broke; going on from where it stopped may help."""
