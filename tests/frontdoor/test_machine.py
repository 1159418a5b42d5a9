"""What of this machine is ours, and how it is asked for."""

from frontdoor.machine import cores, grow_in_segments


def test_the_allocator_grows_in_segments_unless_told_otherwise() -> None:
    """Both of torch's names for the setting are given, a user's own stands, Windows is left alone."""
    fresh: dict[str, str] = {}
    own, windows = {"PYTORCH_CUDA_ALLOC_CONF": "backend:cudaMallocAsync"}, dict[str, str]()

    grow_in_segments(fresh, "linux")
    grow_in_segments(own, "linux")
    grow_in_segments(windows, "win32")

    assert fresh == dict.fromkeys(("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"), "expandable_segments:True")
    assert own == {"PYTORCH_CUDA_ALLOC_CONF": "backend:cudaMallocAsync"}
    assert windows == {}


def test_there_is_a_core() -> None:
    """At least the one that asks."""
    assert cores() >= 1
