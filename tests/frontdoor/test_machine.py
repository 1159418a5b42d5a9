"""The cores, the allocator's settings, and an environment without proxies."""

from frontdoor.machine import cores, use_expandable_segments, without_proxies


def test_the_allocator_extends_segments_unless_set_otherwise() -> None:
    """Both of torch's names for the setting are set; a user's own setting stays, and Windows gets none."""
    fresh: dict[str, str] = {}
    own, windows = {"PYTORCH_CUDA_ALLOC_CONF": "backend:cudaMallocAsync"}, dict[str, str]()

    use_expandable_segments(fresh, "linux")
    use_expandable_segments(own, "linux")
    use_expandable_segments(windows, "win32")

    assert fresh == dict.fromkeys(("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"), "expandable_segments:True")
    assert own == {"PYTORCH_CUDA_ALLOC_CONF": "backend:cudaMallocAsync"}
    assert windows == {}


def test_there_is_a_core() -> None:
    """A process may use at least one core."""
    assert cores() >= 1


def test_proxies_are_removed_and_restored() -> None:
    """Names of any case are removed and nothing else, and a failure inside the context restores them too."""
    own = {"ALL_PROXY": "socks5://a", "https_proxy": "http://b", "No_Proxy": "c", "PATH": "d"}
    seen = dict(own)
    try:
        with without_proxies(seen):
            assert seen == {"PATH": "d"}
            raise RuntimeError
    except RuntimeError:
        assert seen == own
