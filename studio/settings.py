"""What a user may set once, for good."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

_GIB = 1 << 30


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
    models_dir: Path = field(default_factory=lambda: Path("~/.cache/flenwheel/models").expanduser())

    @classmethod
    def from_env(cls, assets: Path) -> Settings:
        """The user's settings: `FLENWHEEL_HOME` and `FLENWHEEL_DEVICE` overrule the defaults."""
        home = Path(os.environ.get("FLENWHEEL_HOME", "~/FLENwheel")).expanduser()
        return cls(data_root=home, assets=assets, device=os.environ.get("FLENWHEEL_DEVICE", "auto"))

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
