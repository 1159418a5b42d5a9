"""Draws the pictures of the sample character that ships with the studio."""

from __future__ import annotations

import json
from pathlib import Path

from engines.mini import world
from engines.mini.export import write_whole


def write_sample(folder: Path, seed: int = 11, trigger: str = "ohwx", name: str = "Robin") -> None:
    """Writes a sample character into a folder: twelve drawings, their captions, and character.json.

    character.json holds the true attributes of each drawing. `seed`: chooses the person, whom no model was trained on.
    `trigger`: the trigger word of the captions; `name`: the character's name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for i, scene in enumerate(world.sample_scenes(seed), start=1):
        stem = f"{name.lower()}-{i:02d}"
        world.draw(scene).save(folder / f"{stem}.png")
        write_whole(folder / f"{stem}.txt", world.caption(scene, trigger) + "\n")
        records.append({"file": f"{stem}.png", "truth": world.truth(scene)})
    card = {"name": name, "trigger": trigger, "seed": seed, "pictures": records}
    write_whole(folder / "character.json", json.dumps(card, indent=2) + "\n")
