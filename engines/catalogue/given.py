"""Finds out which components of a model the files that a user gives hold, and refuses those that cannot become it.

Reads headers and configurations, no weights.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engines.api.errors import BadInput
from engines.api.params import Json
from engines.api.protocols import ModelSpec
from engines.catalogue import contents, places
from engines.catalogue.contents import TRANSFORMER, Piece, pieces
from engines.catalogue.formats import GGUF, demand_format, four_bit, header
from engines.catalogue.shapes import Config, Layout, layout_of
from engines.catalogue.weights import is_variant, parts_of

_OTHER_WIDTHS = {384: "FLUX.1 Fill", 128: "FLUX.1 Canny or Depth, or FLUX.2"}
_WANTED = {TRANSFORMER: "transformer", contents.TEXT_ENCODER: "text encoder", contents.VAE: "VAE"}
_TAKES = {
    TRANSFORMER: "--from takes the transformer's file, a folder in diffusers layout, or ComfyUI's models folder.",
    contents.TEXT_ENCODER: "--text-encoder takes a text encoder's file, or a folder that holds it.",
    contents.VAE: "--vae takes a VAE's file, or a folder that holds it.",
}
_OTHER = "Give the weights of {}, or of a model that was trained from it."


@dataclass(frozen=True)
class Source:
    """Names the place of a component's weights: a file, or a folder as diffusers and transformers write it.

    `prefix`: what stands before the names of its tensors in a file that holds other components, too.
    """

    path: Path
    prefix: str = ""


@dataclass(frozen=True)
class Given:
    """Holds the weights that a user gives for a model, by component.

    `folder`: a model's folder in diffusers layout, whose files are taken as they are. `parts`: component -> where its
    weights are; these are rewritten, and go before those in `folder`. `four_bit`: the components that bitsandbytes has
    already stored in 4 bits. A component that is nowhere comes from the hub.
    """

    folder: Path | None = None
    parts: Mapping[str, Source] = field(default_factory=dict)
    four_bit: tuple[str, ...] = ()

    def mark(self, name: str) -> str:
        """Returns a text that tells the weights given for a component from others; "" where none are given."""
        place = self.parts[name].path if name in self.parts else self.folder
        return mark(place) if place else ""

    def told(self, form: str) -> tuple[str, ...]:
        """Returns lines for the user: which component comes from which file, and what its precision means for `form`.

        `form`: the precision in which the model will be kept, bf16, nf4 or int8.
        """
        lines = [f"{name} from {source.path}" for name, source in self.parts.items()]
        if self.four_bit and form != "nf4":
            names = " and ".join(self.four_bit)
            lines.append(f"{names} in 4 bits already: as {form} larger, and no better than nf4")
        return tuple(lines)


def resolve(
    spec: ModelSpec, source: Path | None = None, text_encoders: Sequence[Path] = (), vae: Path | None = None
) -> Given:
    """Finds the model's components in the places that a user gives. Reads headers only.

    `source`: the transformer's file, a whole checkpoint, a model's folder in diffusers layout or in Hugging Face's
    cache, or ComfyUI's models folder; `text_encoders`, `vae`: files or folders of these components. Raises: BadInput
    for files that hold something else, are of another model or in a format that is not supported, or fit twice.
    """
    layout = layout_of(spec.name, spec.family)
    own: dict[str, Source] = {}
    asked = [(contents.TEXT_ENCODER, place) for place in text_encoders]
    for option, place in (*asked, *([(contents.VAE, vae)] if vae else ())):
        for name, found in _parts(spec, layout, place, option).items():
            if name in own:
                raise BadInput(
                    f"{own[name].path.name} and {found.path.name} are both the {name} of {spec.name}.",
                    "Give each component once.",
                )
            own[name] = found
    given = _from(spec, layout, source, own) if source is not None else Given()
    taken = {**given.parts, **own}
    order = [name for name in layout if name in taken]
    parts = {name: taken[name] for name in (*order, *(name for name in taken if name not in order))}
    return Given(given.folder, parts, tuple(name for name, each in parts.items() if _is_four_bit(each)))


def mark(source: Path) -> str:
    """Returns a text that tells given weights from others: a hash of the files' names, sizes and times of change.

    `source`: a safetensors file, or a folder of which all safetensors files count. Reads none of them.
    """
    files = [source] if source.is_file() else sorted(source.rglob("*.safetensors"))
    told = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr(told).encode()).hexdigest()


def _from(spec: ModelSpec, layout: Layout, source: Path, settled: Collection[str]) -> Given:
    """Returns what a file or folder given by --from holds of a model; components in `settled` are given otherwise."""
    if source.is_file():
        return Given(parts=_file_parts(spec, layout, source, _pieces(source), TRANSFORMER))
    folder = places.snapshot(source, spec.source) or source
    if spec.role == "scorer" or (folder / "model_index.json").is_file():
        return _whole_folder(spec, layout, folder)
    if "transformer" in (parts := _component_folders(spec, layout, folder)):
        return Given(parts=parts)
    if places.single_files(folder):
        names = [name for name in layout if name not in settled]
        return Given(parts=_chosen(spec, layout, folder, names, TRANSFORMER))
    raise BadInput(f"{folder} is not a model's folder in diffusers layout.", places.remedy(spec.source, folder))


# ── one component ───────────────────────────────────────────────────────────────────────────────


def _parts(spec: ModelSpec, layout: Layout, place: Path, option: str) -> dict[str, Source]:
    """Returns the components that an option's file or folder holds, by name. Raises: BadInput."""
    if not any(contents.option_of(part.class_name) == option for part in layout.values()):
        raise BadInput(f"{spec.name} has no part that {option} could give.", _TAKES[TRANSFORMER])
    if place.is_file():
        return _file_parts(spec, layout, place, _pieces(place), option)
    if (place / "config.json").is_file():
        return _folder_part(spec, layout, place, option)
    own = [name for name, part in layout.items() if contents.option_of(part.class_name) == option]
    return _chosen(spec, layout, place, own, option)


def _pieces(file: Path) -> tuple[Piece, ...]:
    """Returns what a file of weights holds. Raises: BadInput for a format that is not read."""
    demand_format(file)
    return pieces([file])


def _file_parts(spec: ModelSpec, layout: Layout, file: Path, found: Sequence[Piece], option: str) -> dict[str, Source]:
    """Returns the components of a model among those that a file holds; with --from all, else those of the option.

    Raises: BadInput where the file lacks what the option takes, or holds that of another model.
    """
    fitting = _demand_piece(spec, layout, file.name, found, option)
    parts = {fitting: Source(file, next(p.prefix for p in found if contents.component(p, layout) == fitting))}
    for piece in found:
        name = contents.component(piece, layout)
        wanted = option in (TRANSFORMER, piece.kind.option)
        if name and name not in parts and wanted and not contents.difference(piece, layout[name].config):
            parts[name] = Source(file, piece.prefix)
    return parts


def _folder_part(spec: ModelSpec, layout: Layout, folder: Path, option: str) -> dict[str, Source]:
    """Returns the one component that a folder with config.json holds. Raises: BadInput."""
    _demand_known(folder)
    files = list(_weights(folder))
    for file in files:
        demand_format(file)
    return {_demand_piece(spec, layout, folder.name, pieces(files), option): Source(folder)}


def _demand_piece(spec: ModelSpec, layout: Layout, where: str, found: Sequence[Piece], option: str) -> str:
    """Returns the name of the component that `option` takes from a file or folder.

    `where`: its name; `found`: what it holds. Raises: BadInput that says what it holds instead, and where to give that.
    """
    named = [(contents.component(piece, layout), piece) for piece in found]
    name, piece = next(((name, each) for name, each in named if name and each.kind.option == option), ("", None))
    if piece is None:
        what = found[0].kind.words if found else "something else"
        right = next((f"Give it by {each.kind.option}. " for name, each in named if name), "")
        raise BadInput(f"{where} holds {what}, not the {_WANTED[option]} of {spec.name}.", f"{right}{_TAKES[option]}")
    if option == TRANSFORMER:
        _demand_same_model(spec, where, layout[name].config, piece)
    if told := contents.difference(piece, layout[name].config):
        size, has, wants = told
        raise BadInput(
            f"{where} is {piece.kind.words} of another model: {size.tensors[0]} is {has} wide, that of {spec.name} "
            f"{wants}.",
            _OTHER.format(spec.name),
        )
    return name


def _demand_same_model(spec: ModelSpec, where: str, config: Config, piece: Piece) -> None:
    """Checks a transformer's first layer, guidance input and marker against the model's configuration.

    Raises: BadInput that names the other model.
    """
    width = piece.kind.sizes[0].found(piece.shapes)
    _demand_width(spec, where, config, width, any("guidance" in key for key in piece.shapes))
    if config and contents.MARKERS[0] in piece.shapes and not config.get("zero_cond_t"):
        raise BadInput(
            f"{where} is Qwen-Image-Edit-2511 (it holds {contents.MARKERS[0]}), not {spec.name}.",
            "Pull Qwen-Image-Edit-2511 from it.",
        )


def _demand_width(spec: ModelSpec, where: str, config: Config, width: int | None, guided: bool) -> None:
    """Checks that the width of the first layer and the guidance input, where known, are those of the model."""
    wanted = config.get("in_channels")
    if wanted and width and width != wanted:
        raise BadInput(
            f"{where} is {_OTHER_WIDTHS.get(width, 'another model')}: its first layer takes {width} channels, that of "
            f"{spec.name} {wanted}.",
            _OTHER.format(spec.name),
        )
    if config.get("guidance_embeds") and not guided:
        raise BadInput(
            f"{where} is FLUX.1 [schnell], or another FLUX that takes no guidance; {spec.name} takes it.",
            f"[schnell] cannot be made into it. {_OTHER.format(spec.name)}",
        )


# ── folders ─────────────────────────────────────────────────────────────────────────────────────


def _whole_folder(spec: ModelSpec, layout: Layout, folder: Path) -> Given:
    """Checks a model's folder in diffusers layout. Raises: BadInput."""
    in_parts = spec.role != "scorer"
    if not (folder / ("model_index.json" if in_parts else "config.json")).is_file():
        raise BadInput(f"{folder} is not a model's folder in diffusers layout.", places.remedy(spec.source, folder))
    rewritten: dict[str, Source] = {}
    for part in (folder / name for name in (parts_of(_json(folder / "model_index.json")) if in_parts else [""])):
        if not part.is_dir():
            raise BadInput(f"{folder} lacks the part {part.name}.", "Download the whole model folder again.")
        _demand_known(part)
        files = list(_weights(part))
        for file in files:
            demand_format(file)
        if in_parts and files and (_is_four_bit(Source(part)) or all(is_variant(file.name) for file in files)):
            rewritten[part.name] = Source(part)
    own = _json(folder / "transformer" / "config.json")
    if own and layout:
        config = layout["transformer"].config
        _demand_width(spec, str(folder), config, own.get("in_channels"), own.get("guidance_embeds", True))
    return Given(folder, rewritten)


def _component_folders(spec: ModelSpec, layout: Layout, folder: Path) -> dict[str, Source]:
    """Returns the components that lie in a folder as diffusers writes them, without a model_index.json.

    `folder`: the folder of a transformer itself, or one that holds transformer/ and perhaps other parts. Raises:
    BadInput for a part that does not fit.
    """
    if _json(folder / "config.json").get("_class_name"):
        return _folder_part(spec, layout, folder, TRANSFORMER)
    found: dict[str, Source] = {}
    for name, part in layout.items():
        if (folder / name / "config.json").is_file():
            found |= _folder_part(spec, layout, folder / name, contents.option_of(part.class_name))
    return found


def _chosen(spec: ModelSpec, layout: Layout, folder: Path, wanted: Sequence[str], option: str) -> dict[str, Source]:
    """Returns the files of ComfyUI's folder, or of any other, that hold the components `wanted` of a model.

    Separate files go before those within a whole checkpoint. Raises: BadInput where no file holds what `option` gives,
    and where two files hold the same component.
    """
    alone: dict[str, list[Source]] = {}
    within: dict[str, list[Source]] = {}
    reasons = []
    for file in places.single_files(folder):
        try:
            found = _pieces(file)
            options = [piece.kind.option for piece in found]
            main = TRANSFORMER if TRANSFORMER in options else next(iter(options), "")
            names = _file_parts(spec, layout, file, found, main) if main else {}
        except BadInput as error:
            reasons.append(error.cause)
            continue
        for name, source in names.items():
            (within if len(found) > 1 and name != "transformer" else alone).setdefault(name, []).append(source)
    fitting = {name: alone.get(name) or within.get(name, []) for name in wanted}
    for name, sources in fitting.items():
        if len(sources) > 1:
            own = contents.option_of(layout[name].class_name)
            listed = "".join(f"\n  {source.path}" for source in sources)
            more = " The folders of the others can be given by --text-encoder and --vae." if own == TRANSFORMER else ""
            raise BadInput(f"{len(sources)} files fit the {name} of {spec.name}:{listed}", f"Give one by {own}.{more}")
    if not any(fitting[name] for name in wanted if contents.option_of(layout[name].class_name) == option):
        listed = "".join(f"\n  {reason}" for reason in reasons[:5])
        raise BadInput(f"No file in {folder} is the {_WANTED[option]} of {spec.name}.{listed}", _TAKES[option])
    return {name: sources[0] for name, sources in fitting.items() if sources}


def _weights(part: Path) -> Iterator[Path]:
    """Yields the safetensors files of a model's component: those of its index, else all but the variants (.fp16. …).

    A component that has only variants gives those in bfloat16, or else in float16. Raises: BadInput for a file of the
    index that is missing.
    """
    for index in part.glob("*.safetensors.index.json"):
        if not is_variant(index.name):
            for name in sorted(set(_json(index).get("weight_map", {}).values())):
                if not (part / name).is_file():
                    raise BadInput(f"{part / name} is not there.", "Download the whole model folder again.")
                yield part / name
            return
    yield from places.plain_or_variant(part)


def _demand_known(part: Path) -> None:
    """Checks that a component's configuration tells of no quantisation but bitsandbytes' 4 bits. Raises: BadInput."""
    told = _json(part / "config.json").get("quantization_config")
    if told and not (told.get("quant_method") == "bitsandbytes" and told.get("load_in_4bit")):
        raise BadInput(
            f"{part} is quantised already, by {told.get('quant_method', 'another tool')}"
            f"{' to 8 bits' if told.get('load_in_8bit') else ''}.",
            "Give the folder of the model at full width, or in bitsandbytes' 4 bits; it is quantised here.",
        )


def _is_four_bit(source: Source) -> bool:
    """Returns whether weights are in bitsandbytes' 4 bits."""
    files = [source.path] if source.path.is_file() else list(_weights(source.path))
    plain = (file for file in files if file.suffix.lower() != GGUF)
    return any(name.startswith(source.prefix) for file in plain for name in four_bit(header(file)))


def _json(file: Path) -> Json:
    """Reads a JSON object; returns an empty one where the file does not exist. Raises: BadInput where it is damaged."""
    if not file.is_file():
        return {}
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise BadInput(f"{file} is damaged: {error}.", "Download that file again.") from error
