"""What a user may set once, for good."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from engines.api.errors import NotFound

_GIB = 1 << 30
_MODELS = "~/.cache/flenwheel/models"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Typed settings; paths are values that travel, never module constants."""

    data_root: Path
    assets: Path
    device: str = "auto"  # auto | cuda | cpu | fake
    budget_gib: float = 22.5
    fake_gib: float = 24.0
    compile: str = ""  # torch's name of a backend that compiles the models' blocks on a card, "inductor"; "": none
    host: str = "127.0.0.1"
    port: int = 0
    models_dir: Path = field(default_factory=lambda: Path(os.path.expanduser(_MODELS)))  # noqa: PTH111 - never raises

    @classmethod
    def from_env(cls, assets: Path, home: Path | None = None) -> Settings:
        """The user's settings: `FLENWHEEL_HOME` and `FLENWHEEL_DEVICE` overrule the defaults, `home` the former.

        Raises: NotFound when nothing says where the characters live.
        """
        wanted = home or Path(os.environ.get("FLENWHEEL_HOME") or "~/FLENwheel")
        found = _of_user(wanted)
        if found is None:
            raise NotFound(
                f"There is no home folder for {wanted}: HOME is not set, and this user has none.",
                "Set HOME, or say where the characters live: FLENWHEEL_HOME, or studio --home FOLDER.",
            )
        # A user without a home folder has the models beside the characters.
        models = _of_user(Path(_MODELS)) or found / "models"
        device = os.environ.get("FLENWHEEL_DEVICE", "auto")
        return cls(data_root=found.resolve(), assets=assets, device=device, models_dir=models)

    @property
    def budget_bytes(self) -> int:
        """The card budget in bytes."""
        return int(self.budget_gib * _GIB)

    @property
    def fake_bytes(self) -> int:
        """The size of a fake card in bytes."""
        return int(self.fake_gib * _GIB)

    @property
    def log_file(self) -> Path:
        """Where the studio writes down what went wrong."""
        return self.data_root / "logs" / "flenwheel.log"


def _of_user(path: Path) -> Path | None:
    """A path with `~` written out; None where there is no such user or no home folder."""
    try:
        return path.expanduser()
    except RuntimeError:
        return None
