"""Lists the vocabularies by name: a new wording is a file that defines a `Vocabulary`, and a row here."""

from __future__ import annotations

from collections.abc import Mapping

from engines.api.errors import NotFound
from engines.wording.drawn import DRAWN
from engines.wording.klein import KLEIN
from engines.wording.photographs import PHOTOGRAPHS
from engines.wording.vocabulary import Vocabulary

VOCABULARIES: Mapping[str, Vocabulary] = {"photographs": PHOTOGRAPHS, "klein": KLEIN, "drawn": DRAWN}


def vocabulary(name: str) -> Vocabulary:
    """Returns the vocabulary with this name: the templates of prompts and captions for one kind of model.

    A model's registry row has this name in its field `wording`. Raises: NotFound for an unknown name.
    """
    try:
        return VOCABULARIES[name]
    except KeyError:
        raise NotFound(f"There is no wording named {name}.", f"Known: {', '.join(VOCABULARIES)}.") from None
