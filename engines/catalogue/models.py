"""Lists the models as rows of data: a new model is a new row, and an engine file where its family is new."""

from __future__ import annotations

from math import log
from pathlib import Path
from typing import Any

from engines.api.protocols import FewSteps, LoraFiles, ModelSpec
from engines.catalogue.recognisers import RECOGNISERS
from engines.catalogue.shapes import FLUX_BYTES, KLEIN_4B_BYTES, QWEN_EDIT_BYTES

_FLUX_DEV = "FLUX.1 [dev] Non-Commercial"
_APACHE = "Apache-2.0"
_FLUX_KNOBS = {
    "GenerateParams": {"steps": 28, "guidance": 3.5, "width": 1024, "height": 1024},
    "TrainParams": {"rank": 16, "alpha": 16.0, "learning_rate": 1e-4, "steps": 1500, "resolution": 1024},
}
_QWEN_KNOBS: dict[str, dict[str, Any]] = {
    "EditParams": {"steps": 40, "true_cfg": 4.0, "negative": " "},
    "TrainParams": {
        "rank": 16,
        "alpha": 16.0,
        "learning_rate": 1e-4,
        "steps": 1500,
        "resolution": 1024,
        "timestep_density": "weighted",
        "caption_dropout": 0.0,
    },
}
_MINI_TRAINING: dict[str, Any] = {
    "rank": 16,
    "alpha": 16.0,
    "learning_rate": 1e-3,
    "timestep_density": "uniform",
    "steps": 200,
    "batch_size": 8,
    "resolution": 64,
    "gradient_checkpointing": False,
    "save_every": 40,
    "sample_every": 40,
}
_FLUX_WHY = {
    "TrainParams": "rank 16 with alpha 16 at 1e-4, as in ai-toolkit's FLUX.1-dev preset (500 to 4,000 steps; 100 to "
    "150 a picture is the common rule); guidance 1 as in diffusers' README of train_dreambooth_lora_flux.",
}
_QWEN_WHY = {
    "TrainParams": "rank 16 with alpha 16 at 1e-4, noise levels weighted, as in ai-toolkit's Qwen-Image-Edit-2509 "
    "preset; modulation left alone, as in musubi-tuner; no caption dropout, as SimpleTuner advises for edits.",
}
_KLEIN_WHY = {
    "TrainParams": "rank 32 with alpha 32 at 1e-4, as in ai-toolkit's preset of klein-base-9B; noise levels as it "
    "draws, as musubi-tuner's flux2_shift; 2,000 steps, between ai-toolkit's 3,000 and the 500 of diffusers' script.",
}
_MINI_WHY = {
    "TrainParams": "measured on this toy model. All noise levels alike: with so few steps, preferring the middle ones "
    "leaves too little practice on the levels that decide hair and clothes."
}
_FEW_STEPS: dict[str, Any] = {"steps": 4, "true_cfg": 1.0}
_LIGHTNING = {"base_shift": log(3), "max_shift": log(3), "max_image_seq_len": 8192, "shift_terminal": None}
_FLUX_LORA = LoraFiles(
    declared=("flux-1", "flux.1", "flux1"),
    architecture="flux-1-dev/lora",
    implementation="https://github.com/black-forest-labs/flux",
    base_version="flux1",
    network="networks.lora_flux",
    reader="diffusers.loaders:FluxLoraLoaderMixin",
    cut_at=3072,
    fused={"img_attn_qkv": 3, "txt_attn_qkv": 3, "linear1": 4},
    attention=(3072, 19),
    names="engines.families.flux.names:flux_slot",
)
_QWEN_LORA = LoraFiles(
    declared=("qwen-image", "qwen_image"),
    architecture="Qwen-Image-Edit/lora",
    architectures={  # source: musubi-tuner's sai_model_spec.py
        "Qwen-Image-Edit-2509": "Qwen-Image-Edit-Plus/lora",
        "Qwen-Image-Edit-2511": "Qwen-Image-Edit-2511/lora",
        "FireRed-Image-Edit-1.1": "Qwen-Image-Edit-Plus/lora",
    },
    implementation="https://github.com/QwenLM/Qwen-Image",
    base_version="qwen_image_edit",
    network="networks.lora_qwen_image",
    attention=(3072, 60),
)
_KLEIN_LORA = LoraFiles(
    declared=("flux-2", "flux.2", "flux_2", "flux2"),
    architecture="Flux.2-klein-4b/lora",
    implementation="https://github.com/black-forest-labs/flux2",
    base_version="flux_2_klein_4b",
    network="networks.lora_flux_2",
    reader="diffusers.loaders:Flux2LoraLoaderMixin",
    reads_dotted=True,
    fused={"img_attn_qkv": 3, "txt_attn_qkv": 3},
    # As wide as FLUX.1: InvokeAI tells the two by the first MLP layer, which attention alone does not have.
    mark=("transformer_blocks.0.ff.linear_in", "transformer_blocks.0.attn.to_out.0", 6),
    attention=(3072, 5),
    names="engines.families.flux2.training:flux2_slot",
)
_KLEIN_OPTIONS: dict[str, Any] = {
    "text_tokens": 512,
    "nf4": ("transformer", "text_encoder"),
    "full_width": (  # all blocks share these, so that an error in one would act on every block
        "time_guidance_embed",
        "double_stream_modulation_img",
        "double_stream_modulation_txt",
        "single_stream_modulation",
    ),
    "reference_area": 1024 * 1024,
    "pictures": 4,  # of an edit, by docs.bfl.ml
}
_QWEN_PIPELINE = "QwenImageEditPlusPipeline"
_QWEN_OPTIONS: dict[str, Any] = {
    "reference_area": 1024 * 1024,
    "vision_area": 384 * 384,
    "multiple": 32,
    "nf4": ("transformer", "text_encoder"),
    "modulation": "table",
}


def _flux(name: str, source: str) -> ModelSpec:
    return ModelSpec(
        name=name,
        label=name,
        role="generator",
        family="flux",
        engine="engines.families.flux.engine:Flux",
        trainer="engines.families.flux.training:FluxAdapter",
        source=source,
        licence=_FLUX_DEV,
        gated=True,
        component_bytes=FLUX_BYTES,
        defaults=_FLUX_KNOBS,
        why=_FLUX_WHY,
        options={"text_tokens": 512, "nf4": ("transformer", "text_encoder_2")},
        lora=_FLUX_LORA,
        pipeline="FluxPipeline",
    )


def _klein(name: str, *, steps: int, guidance: float, **more: Any) -> ModelSpec:
    """Returns the registry row of a FLUX.2 [klein] of 4B parameters; `steps` and `guidance` are those of its makers.

    Its text encoder sees no pictures, so it has no captioner.
    """
    return ModelSpec(
        name=name,
        label=name,
        role="generator",
        family="flux2",
        engine="engines.families.flux2.engine:Flux2",
        editor="engines.families.flux2.editor:Flux2Edit",
        captioner="",
        wording="klein",
        camera="klein",
        source=f"black-forest-labs/{name}",
        licence=_APACHE,
        component_bytes=KLEIN_4B_BYTES,
        defaults={
            "GenerateParams": {"steps": steps, "guidance": guidance, "width": 1024, "height": 1024},
            "EditParams": {"steps": steps, "true_cfg": guidance, "negative": ""},
            "TrainParams": {
                **_FLUX_KNOBS["TrainParams"],
                "rank": 32,
                "alpha": 32.0,
                "steps": 2000,
                "timestep_density": "resolution_shift",
            },
        },
        options=_KLEIN_OPTIONS,
        lora=_KLEIN_LORA,
        true_guidance=True,
        pipeline="Flux2KleinPipeline",
        **more,
    )


def _qwen_edit(
    name: str, source: str, lightning: str = "", pipeline: str = _QWEN_PIPELINE, note: str = "", **options: Any
) -> ModelSpec:
    """Returns the registry row of an editor; `options` add to those that all Qwen editors share.

    `lightning`: repository and path on the hub of the four-step adapter by lightx2v; "" for none.
    """
    few = FewSteps(file=f"few_steps/{Path(lightning).name}", source=lightning, knobs=_FEW_STEPS, scheduler=_LIGHTNING)
    return ModelSpec(
        name=name,
        label=name,
        role="editor",
        family="qwen-edit",
        engine="engines.families.qwen_edit.engine:QwenEdit",
        trainer="engines.families.qwen_edit.training:QwenEditAdapter",
        source=source,
        licence=_APACHE,
        component_bytes=QWEN_EDIT_BYTES,
        defaults=_QWEN_KNOBS,
        why=_QWEN_WHY,
        few_steps=few if lightning else None,
        options={**_QWEN_OPTIONS, **options},
        lora=_QWEN_LORA,
        pipeline=pipeline,
        note=note,
    )


MODELS: tuple[ModelSpec, ...] = (
    ModelSpec(
        name="mini-flux",
        label="mini-flux (embedded toy world)",
        role="generator",
        family="flux",
        engine="engines.families.flux.engine:Flux",
        trainer="engines.families.flux.training:FluxAdapter",
        source="assets:mini/flux",
        licence=_APACHE,
        toy=True,
        wording="drawn",
        dtype="float32",
        size=(64, 64),
        multiple=8,
        defaults={
            "GenerateParams": {"steps": 20, "guidance": 2.5, "width": 64, "height": 64},
            "TrainParams": {**_MINI_TRAINING, "ema_decay": 0.97},
        },
        why=_MINI_WHY,
        options={"text_tokens": 32, "batch": 8},
        lora=_FLUX_LORA,
        pipeline="FluxPipeline",
        note="Trained by us on drawings; it knows nothing but its own cartoon world.",
    ),
    _flux("FLUX.1-dev", "black-forest-labs/FLUX.1-dev"),
    _flux("FLUX.1-Krea-dev", "black-forest-labs/FLUX.1-Krea-dev"),
    _klein(
        "FLUX.2-klein-base-4B",
        steps=50,
        guidance=4.0,
        trainer="engines.families.flux2.training:Flux2Adapter",
        why=_KLEIN_WHY,
        note="It draws and edits by the same weights. An edit may drift over the whole picture.",
    ),
    _klein(
        "FLUX.2-klein-4B",
        steps=4,
        guidance=1.0,
        note="It draws and edits in four steps by the same weights; train its LoRAs on FLUX.2-klein-base-4B. An edit "
        "may drift over the whole picture.",
    ),
    ModelSpec(
        name="mini-qwen-edit",
        label="mini-qwen-edit (embedded toy world)",
        role="editor",
        family="qwen-edit",
        engine="engines.families.qwen_edit.engine:QwenEdit",
        trainer="engines.families.qwen_edit.training:QwenEditAdapter",
        source="assets:mini/qwen_edit",
        licence=_APACHE,
        toy=True,
        wording="drawn",
        camera="drawn",
        dtype="float32",
        size=(64, 64),
        defaults={
            "EditParams": {"steps": 12, "true_cfg": 3.0, "negative": " "},
            "TrainParams": {**_MINI_TRAINING, "caption_dropout": 0.0},
        },
        why=_MINI_WHY,
        few_steps=FewSteps(file="few_steps/adapter.safetensors", knobs=_FEW_STEPS),
        options={
            "reference_area": 64 * 64,
            "vision_area": 84 * 84,
            "multiple": 8,
            "vision_multiple": 28,
            "batch": 8,
            "caption_template": "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>{}<|im_end|>\n"
            "<|im_start|>assistant\n",
            "question_area": 84 * 84,
            "taught": "questions/adapter.safetensors",
            "trusted_axes": ("framing", "outfit", "background", "light"),  # goals met, no worse than captions
        },
        lora=_QWEN_LORA,
        pipeline=_QWEN_PIPELINE,
        note="Trained by us on drawings; it knows nothing but its own cartoon world.",
    ),
    _qwen_edit(
        "Qwen-Image-Edit-2511",
        "Qwen/Qwen-Image-Edit-2511",
        "lightx2v/Qwen-Image-Edit-2511-Lightning/Qwen-Image-Edit-2511-Lightning-4steps-V1.0-bf16.safetensors",
    ),
    _qwen_edit(
        "Qwen-Image-Edit-2509",
        "Qwen/Qwen-Image-Edit-2509",
        "lightx2v/Qwen-Image-Lightning/Qwen-Image-Edit-2509/Qwen-Image-Edit-2509-Lightning-4steps-V1.0-bf16.safetensors",
    ),
    _qwen_edit(
        "Qwen-Image-Edit",
        "Qwen/Qwen-Image-Edit",
        "lightx2v/Qwen-Image-Lightning/Qwen-Image-Edit-Lightning-4steps-V1.0-bf16.safetensors",
        vision_area=1024 * 1024,
        pipeline="QwenImageEditPipeline",
        picture_label="",
    ),
    _qwen_edit(
        "FireRed-Image-Edit-1.1",
        "FireRedTeam/FireRed-Image-Edit-1.1",
        note="Its makers trained it from Qwen-Image-Edit-2509 to keep people alike; there is no adapter for few steps.",
    ),
    *RECOGNISERS,
)
