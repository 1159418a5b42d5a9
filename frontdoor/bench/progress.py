"""The progress callback of a measured job, which shows nothing."""


def ignore(step: int, total: int, message: str = "") -> None:
    """Does nothing; it takes a job's progress, that `step` of `total` is done."""
    del step, total, message
