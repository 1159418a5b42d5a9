"""Runs diffusers' own FLUX script, `train_dreambooth_lora_flux.py`, unchanged and with the inputs of our training.

Only packages that it imports and this machine may lack are replaced (`peers/`: torchvision's transforms, which handle
pictures before the first step only).
"""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from engines.api.params import TrainParams
from engines.catalogue.registry import load_class

STEPS = re.compile(rb"Steps:[^\r\n]*?\| (\d+)/\d+ \[")


@dataclass(frozen=True)
class Script:
    """Holds the path of diffusers' FLUX training script, and what the script is to train.

    `model` is the folder of a model in diffusers' layout, `pictures` a folder of pictures, which all get the same
    `caption`. `text_tokens` is the length to which the prompts of the T5 encoder are padded.
    """

    path: Path
    model: Path
    pictures: Path
    caption: str
    text_tokens: int

    def command(self, out: Path, params: TrainParams, *flags: str) -> list[str]:
        """Returns the command line that runs the script with our training parameters, as a list of arguments.

        The parameters are given under the script's own names. `out` is the folder that the script trains into; `flags`
        are further arguments at the end.
        """
        knobs = {
            "pretrained_model_name_or_path": self.model,
            "instance_data_dir": self.pictures,
            "instance_prompt": self.caption,
            "output_dir": out,
            "resolution": params.resolution,
            "train_batch_size": params.batch_size,
            "max_train_steps": params.steps,
            "max_sequence_length": self.text_tokens,
            "rank": params.rank,
            "lora_alpha": int(params.alpha),
            "lora_layers": ",".join(trained_modules(self.model)),
            "learning_rate": params.learning_rate,
            "lr_warmup_steps": 0,
            "guidance_scale": params.guidance,
            "checkpointing_steps": 10 * params.steps,
            "seed": 0,
        }
        given = [word for name, value in knobs.items() for word in (f"--{name}", str(value))]
        return [sys.executable, "-m", "frontdoor.bench.peer", str(self.path), *given, *flags]


def t5_tokenizer(folder: Path) -> None:
    """Rewrites the tokenizer in `folder` as one of the class T5Tokenizer, the only class that diffusers' script opens.

    The tokens keep their ids.
    """
    from transformers import AutoTokenizer, T5Tokenizer

    short = AutoTokenizer.from_pretrained(folder)
    ids = sorted(short.get_vocab().items(), key=lambda item: item[1])
    special = set(short.all_special_tokens)
    pieces = [(word if word in special else f"▁{word}", 0.0 if word in special else -1.0) for word, _ in ids]
    names = {name: getattr(short, name) for name in ("pad_token", "eos_token", "unk_token") if getattr(short, name)}
    shutil.rmtree(folder)
    T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=short.model_max_length, **names).save_pretrained(folder)


def trained_modules(model: Path) -> list[str]:
    """Returns the names of the transformer's modules that our LoRA trains, for the script's `--lora_layers`.

    `model` is the folder of a FLUX model in diffusers' layout.
    """
    import accelerate
    from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel

    targets = re.compile(load_class("engines.families.flux.training:FluxAdapter").targets["all"].pattern)
    with accelerate.init_empty_weights():
        transformer = FluxTransformer2DModel.from_config(FluxTransformer2DModel.load_config(model / "transformer"))
    return sorted(name for name, _ in transformer.named_modules() if targets.fullmatch(name))
