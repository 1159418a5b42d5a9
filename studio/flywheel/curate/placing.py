"""Finds the pictures that the rows of a list of captions are about."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from studio.flywheel.curate.intake import Member, alike
from studio.flywheel.curate.listings import Listing
from studio.records.job import Refused
from studio.records.words import mended

_NAMED = 5  # the number of pictures that a line of the report names


@dataclass
class Placed:
    """Holds what lists of captions give to pictures, and lines for the report about rows that could not be taken.

    `words` maps a picture to its caption, `unlisted` maps a list to the pictures in its folder without a caption.
    """

    words: dict[Member, Member] = field(default_factory=dict)
    unlisted: dict[Member, list[Member]] = field(default_factory=dict)
    refused: list[Refused] = field(default_factory=list)


class Places:
    """An index of pictures by the paths that a list may spell: relative, of another machine, or a name without suffix.

    Of several pictures of one name the one whose folders agree with the path is meant; a picture outside the list's own
    folder is found only where that folder holds none.
    """

    def __init__(self, pictures: Iterable[Member]) -> None:
        self._named: dict[tuple[str, ...], list[Member]] = defaultdict(list)
        self._folders: dict[str, tuple[str, ...]] = {}
        for picture in pictures:
            folders = self._folders.setdefault(picture.group, _folders(picture.group))
            for name in {alike(picture.name), alike(picture.stem)}:
                self._named[name,].append(picture)
                self._named[*folders[-1:], name].append(picture)

    def of(self, path: str, group: str) -> list[Member]:
        """Returns the pictures that a path in a list could mean, of a list in the folder `group`; [] for none."""
        spelled = path.strip().replace("\\", "/")
        *above, name = _folders(spelled) or ("",)
        whole, below = spelled.startswith("/") or ":" in spelled, _folders(group)
        lies = (*(() if whole else below), *above)
        found = self._named.get((*lies[-1:], name)) or self._named.get((name,)) or []
        found = [each for each in found if self._folders[each.group] == lies] or found
        found = [each for each in found if alike(each.name) == name] or found
        found = [each for each in found if spelled.endswith((each.name, each.stem))] or found
        found = [each for each in found if self._folders[each.group][: len(below)] == below] or found
        shared = {each: _shared(self._folders[each.group], lies) for each in found} if len(found) > 1 else {}
        most = max(shared.values(), default=0)
        return [each for each in found if shared.get(each, most) == most]


def _folders(path: str) -> tuple[str, ...]:
    """Returns the parts of a path in the form in which names are compared."""
    return tuple(part for part in alike(path).split("/") if part not in ("", "."))


def _shared(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """Returns how many folders two paths have in common, from their ends on."""
    count = 0
    for mine, theirs in zip(reversed(one), reversed(other), strict=False):
        if mine != theirs:
            break
        count += 1
    return count


def sources(lists: Mapping[Member, Listing], pictures: Sequence[Member]) -> dict[Member, list[Member]]:
    """Returns the control pictures that lists name, each with the pictures that were made from it."""
    found: dict[Member, list[Member]] = defaultdict(list)
    places = Places(pictures)
    for file, listing in lists.items():
        for row in listing.rows:
            results = places.of(row.picture, file.group)
            for control in row.controls:
                if len(results) == len(hits := places.of(control, file.group)) == 1 and hits != results:
                    found[hits[0]].append(results[0])
    return dict(found)


def placed(
    lists: Mapping[Member, Listing], pictures: Sequence[Member], controls: Iterable[Member], worded: Iterable[Member]
) -> Placed:
    """Returns what the lists of captions give to the pictures of an import.

    `controls` are the control pictures. `worded` are pictures with a caption file of their own, which goes before any
    list; of several lists the first one counts.
    """
    found, places, own = Placed(), Places(pictures), set(worded)
    sources = Places([*pictures, *controls])
    for file, rows in lists.items():
        if _place(file, rows, places, sources, own, found):
            below = f"{file.group}/" if file.group else ""
            found.unlisted[file] = [each for each in pictures if f"{each.group}/".startswith(below)]
    for file, bare in found.unlisted.items():
        found.unlisted[file] = [each for each in bare if each not in found.words and each not in own]
    return found


def _place(file: Member, listing: Listing, places: Places, controls: Places, own: set[Member], found: Placed) -> int:
    """Gives the rows of one list to their pictures, and returns how many pictures got words.

    Lines about rows whose words were not taken are added to `found.refused`.
    """
    before = len(found.words)
    absent, unclear, twice, beside = list[str](), list[str](), list[str](), list[str]()
    absent += [each for row in listing.rows for each in row.controls if not controls.of(each, file.group)]
    for row in listing.rows:
        hits = places.of(row.picture, file.group)
        if len({(each.group, each.stem) for each in hits}) != 1:
            (unclear if hits else absent).append(row.picture)
            continue
        for picture in hits:
            if picture in own and row.caption:
                beside.append(row.picture)
            elif row.caption and picture not in found.words:
                label = f"{file.label}, {row.where}"
                found.words[picture] = Member(label, file.group, file.name, row.caption.encode, worded=True)
            elif row.caption and found.words[picture].data() != row.caption.encode():
                twice.append(row.picture)
    lines = (
        (absent, "name pictures that did not come in", "Import it together with its pictures."),
        (unclear, "fit several pictures of one name", "Write the folder in front of the picture's name."),
        (twice, "give other words to a picture that has some from an earlier row or list", "Keep one of the two."),
        (beside, "are about pictures that have a file of words of their own, which counts", "Keep one of the two."),
        (listing.wrong, "name no picture, or their words are no text", "Mend these rows, and import it again."),
    )
    for names, what, hint in lines:
        if names:
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            named = ", ".join(map(mended, names[:_NAMED]))
            whole = len(listing.rows) + len(listing.wrong)
            reason = f"{len(names)} of its {whole} rows {what}: {named}{more}."
            found.refused.append(Refused(file.shown, reason, hint))
    return len(found.words) - before
