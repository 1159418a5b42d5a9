"""Lists the training stages of the embedded toy models: schedules, dependencies, sizes of data sets."""

from __future__ import annotations

from dataclasses import dataclass, replace

from engines.mini.loop import Schedule

STAGES = (
    "draw", "vae_qwen", "vae_flux", "reader", "judge", "identity", "captioner", "questions", "edit", "flux",
    "flux_poses", "few_steps", "polish_qwen", "polish_flux", "measure_flux", "measure_edit", "lora_angle",
    "lora_light", "lora_expression", "lora_outfit", "lora_pose", "lora_stranger", "lora_comic",
)  # fmt: skip
# Stage -> the stages whose weights it learns from; once one of these is trained anew, so must it be.
LEARNS_FROM = {
    "flux": ("vae_flux",),
    "flux_poses": ("flux",),
    "questions": ("captioner",),
    "edit": ("vae_qwen", "captioner"),
    "few_steps": ("edit",),
    "polish_qwen": ("vae_qwen",),
    "polish_flux": ("vae_flux",),
    "lora_angle": ("edit",),
    "lora_light": ("edit",),
    "lora_expression": ("edit",),
    "lora_outfit": ("edit",),
    "lora_pose": ("edit",),
    "lora_stranger": ("edit",),
    "lora_comic": ("flux_poses",),
}
# Stage -> the tensors that later stages cache from its weights; they are outdated once it is trained anew.
CACHED_FROM = {
    "vae_qwen": "latents_qwen",
    "vae_flux": "latents_flux",
    "captioner": "edits",
    "edit": "few_steps_paths",
}
BLOCKS = "transformer_blocks"
_LORA = Schedule(steps=180, lr=2e-3, batch=8, warmup=10, decay=0.6, ema=0.98, weight_decay=0.0)
SCHEDULES = {
    "vae_flux": Schedule(steps=1000, lr=1.2e-3, batch=16, decay=0.45, ema=0.995, seed=1),
    "vae_qwen": Schedule(steps=1600, lr=1.5e-3, batch=16, decay=0.45, ema=0.995, seed=2),
    "few_steps": Schedule(steps=400, lr=1e-3, batch=40, decay=0.5, ema=0.99, weight_decay=0.0, seed=11),
    "polish_flux": Schedule(steps=2000, lr=8e-4, batch=16, decay=0.6, ema=0.995, weight_decay=0.0, seed=9),
    "polish_qwen": Schedule(steps=2600, lr=8e-4, batch=16, decay=0.6, ema=0.995, weight_decay=0.0, seed=10),
    "reader": Schedule(steps=900, lr=2e-3, batch=128, decay=0.5, ema=0.98, seed=3),
    "judge": Schedule(steps=1000, lr=2e-3, batch=128, decay=0.5, ema=0.98, seed=4),
    "identity": Schedule(steps=800, lr=2e-3, batch=128, decay=0.5, ema=0.98, seed=5),
    "captioner": Schedule(steps=520, lr=1.2e-3, batch=48, decay=0.5, ema=0.99, warmup=40, seed=6),
    "questions": Schedule(steps=360, lr=1e-3, batch=24, decay=0.5, ema=0.98, warmup=20, weight_decay=0.0, seed=13),
    "flux": Schedule(steps=3000, lr=1.2e-3, batch=40, decay=0.35, ema=0.998, weight_decay=0.0, muon=BLOCKS, seed=7),
    "flux_poses": Schedule(steps=500, lr=5e-4, batch=40, ema=0.97, weight_decay=0.0, muon=BLOCKS, seed=12),
    "edit": Schedule(steps=6000, lr=1.2e-3, batch=40, decay=0.35, ema=0.998, weight_decay=0.0, muon=BLOCKS, seed=8),
    "lora_angle": replace(_LORA, seed=13, steps=240, lr=3e-3),
    "lora_light": replace(_LORA, seed=14, steps=120, lr=3e-3),
    "lora_expression": replace(_LORA, seed=15),
    "lora_outfit": replace(_LORA, seed=16, steps=120),
    "lora_pose": replace(_LORA, seed=17, steps=120),
    "lora_stranger": replace(_LORA, seed=18, steps=100),
    "lora_comic": replace(_LORA, seed=19, steps=40),
}


def later_stages(stage: str) -> set[str]:
    """Returns the stages that learn from `stage`, directly or not, and so must be trained anew after it."""
    nearest = {later for later, needs in LEARNS_FROM.items() if stage in needs}
    return nearest.union(*(later_stages(later) for later in nearest))


@dataclass(frozen=True)
class Size:
    """Holds how much data the stages train on and measure with.

    `scenes`: the number of scenes to train on. `empty_prompts`: the number of edits for which the negative prompt is
    encoded. `paths`: the number of edits from which the few-step LoRA learns; `lessons`: that from which each LoRA for
    one kind of edit learns. `…_pictures`, `generated`, `edits_a_task`: the numbers of pictures and edits to measure
    with. `…_steps`: denoising steps when measuring.
    """

    scenes: int = 24_000
    empty_prompts: int = 4_000
    paths: int = 1_200
    lessons: int = 480
    vae_pictures: int = 256
    reader_pictures: int = 1024
    identity_pictures: int = 1600
    generated: int = 200
    generator_steps: int = 28
    edits_a_task: int = 24
    editor_steps: int = 20
