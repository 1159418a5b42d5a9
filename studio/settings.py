"""The settings that a user makes once for a whole session."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from engines.api.errors import NotFound

_GIB = 1 << 30
_MODELS = "~/.cache/flenwheel/models"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Holds the settings with which a studio is started.

    `data_root` is the data folder, `assets` the folder of the program's own files, `models_dir` that of the models'
    weights. `device` is auto, cuda, cpu or fake; `fake` simulates a GPU that has `fake_gib` of memory. `budget_gib` is
    the GPU memory that models may use. `compile` names the backend for torch.compile, "" compiles nothing.
    """

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
    def from_env(cls, assets: Path, home: Path | None = None, models: Path | None = None) -> Settings:
        """Returns settings whose folders and device come from environment variables.

        These are `FLENWHEEL_HOME`, `FLENWHEEL_MODELS` and `FLENWHEEL_DEVICE`. `assets` is the folder of the program's
        own files. `home` and `models` are the data folder and that of the models to use instead of the variables'.
        Without either, they are in the user's home folder. Raises: NotFound where the user's home folder is needed and
        cannot be found.
        """
        wanted = home or Path(os.environ.get("FLENWHEEL_HOME") or "~/FLENwheel")
        found = _of_user(wanted)
        if found is None:
            raise NotFound(
                f"There is no home folder for {wanted}: HOME is not set, and this user has none.",
                "Set HOME, or say where the characters live: FLENWHEEL_HOME, or studio --home FOLDER.",
            )
        # A user without a home folder keeps the models below the data folder.
        told = models or Path(os.environ.get("FLENWHEEL_MODELS") or _MODELS)
        weights = _of_user(told)
        if weights is None and told != Path(_MODELS):
            raise NotFound(
                f"There is no home folder for {told}.", "Set FLENWHEEL_MODELS, or --models, to the folder's full path."
            )
        kept = weights.absolute() if weights else found / "models"
        device = os.environ.get("FLENWHEEL_DEVICE") or "auto"
        return cls(data_root=found.resolve(), assets=assets, device=device, models_dir=kept)

    @property
    def budget_bytes(self) -> int:
        """Returns the memory that models may use on the GPU, in bytes."""
        return int(self.budget_gib * _GIB)

    @property
    def fake_bytes(self) -> int:
        """Returns the memory size of the simulated GPU that tests use, in bytes."""
        return int(self.fake_gib * _GIB)

    @property
    def log_file(self) -> Path:
        """Returns the path of the studio's log file."""
        return self.data_root / "logs" / "flenwheel.log"


def _of_user(path: Path) -> Path | None:
    """Returns a path with `~` expanded; None when the user or its home folder does not exist."""
    try:
        return path.expanduser()
    except RuntimeError:
        return None
