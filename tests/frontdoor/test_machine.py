"""What of this machine is ours, and how it is asked for."""

from frontdoor.machine import cores, grow_in_segments, without_proxies


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


def test_proxies_are_hidden_for_a_while_and_then_there_again() -> None:
    """Whatever their case; nothing else is touched, and a failure in between brings them back too."""
    own = {"ALL_PROXY": "socks5://a", "https_proxy": "http://b", "No_Proxy": "c", "PATH": "d"}
    seen = dict(own)
    try:
        with without_proxies(seen):
            assert seen == {"PATH": "d"}
            raise RuntimeError
    except RuntimeError:
        assert seen == own
