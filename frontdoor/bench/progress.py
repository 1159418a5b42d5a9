"""The progress callback of a measured job, which shows nothing."""


def ignore(step: int, total: int, message: str = "") -> None:
    """Does nothing; serves as the progress callback of a measured job, whose progress nobody needs to see.

    A job calls it with the number of the step that is done, the number of all steps, and a text.
    """
    del step, total, message
