"""Reads tags from captions, whoever wrote them: patterns as data, and the one loop over them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from engines.api.axes import Tags
from engines.api.triggers import composed
from engines.wording.registry import VOCABULARIES


@dataclass(frozen=True)
class Reader:
    """Holds the regular expressions by which the tag of one axis is read from a caption.

    `patterns`: from a value of the axis to the expression that tells it; the expression that matches first in the
    caption decides. The value "" stands for the words themselves: the last three words of the expression's group.
    """

    patterns: Mapping[str, str]

    def read(self, text: str) -> str:
        """Returns the value that a caption, in lower case, has for the tag; "" if no expression matches."""
        searched = ((value, re.search(rf"\b(?:{words})\b", text)) for value, words in self.patterns.items())
        found = [(match.start(), value, match) for value, match in searched if match]
        if not found:
            return ""
        _, value, match = min(found, key=lambda each: each[0])
        return value or _FRONT.sub("", " ".join(match.group(1).split()[-3:]))


def _known(axis: str) -> str:
    """Returns a pattern for those values of an axis that captions name without a phrase around them."""
    return "|".join(re.escape(value) for each in VOCABULARIES.values() for value in each.known.get(axis, ()))


_FRONT = re.compile(r"^(?:(?:an?|and|the) )+")
# Words that no phrase runs over: what stands beyond them says something else.
_JOINT = (
    r"(?:an?|the|his|her|their|in|on|at|with|of|under|over|against|from|by|for|to|into|near|behind|beside|before|between|"
    r"through|during|along|across|inside|outside|around|beneath|above|below|towards?|while|as|or|but|is|are|has|have|"
    r"that|which|who|wearing|wears|dressed|standing|sitting|seated|facing|looking|smiling|laughing|holding|leaning|"
    r"walking|posing|lit|tucked|featuring|background|backdrop)"
)
_END = rf"(?= *(?:[^\w -]|$)| (?:and|{_JOINT})\b)"  # a phrase ends here
_WORD = rf"(?!(?:and|{_JOINT})\b(?!-))[^\W_][\w'-]*+"
# What stands before a word: its last three words, each begun once, so that no text takes long to look through.
_BEFORE = rf"(?<![\w'-])((?:{_WORD} ){{0,2}}?{_WORD})"
# What stands after a word, up to the next joint, and past an "and" after one word, for that joins two colours.
_AFTER = (
    r"(?:an? |the |his |her |their )?"
    rf"({_WORD}(?: {_WORD}){{1,5}}|{_WORD}(?: and (?:an? )?{_WORD}(?: {_WORD}){{0,4}})?)"
)
_IS = r"(?::| is| are) "

_FORTH = r"(?:,? (?!(?:left|right|light(?:ing)?|lit|with|wearing)\b)[\w'-]+){0,6}?"  # from a view to its side
_SLIGHTLY = (
    r"(?:(?:slightly|half|halfway|partially|partly|somewhat|sharply|gently|almost|an?|bit|little|quarter|off|off-camera|"
    r"to|towards?|the|viewer's|camera's|our|about|45|degrees) )*+"
)
_PROFILE = r"profile|side[- ]view|side[- ]on"
_HALF = r"three[- ]quarters?(?![- ](?:length|shot))|3/4|half[- ]profile"
_SIDE = (  # but not "looking right at the camera", nor a left hand
    r"{}(?! (?:side )?(?:profile|(?:at|into) the (?:camera|viewer|lens)|"
    r"hand|arm|shoulder|elbow|ear|eye|cheek|leg|foot|knee)\b)"
)
_LEFT, _RIGHT = _SIDE.format("left"), _SIDE.format("right")
_SEEN = r"(?:seen|viewed|view|shown|shot|body|photographed|taken) from (?:directly |straight )?"
_BEHIND = (
    rf"{_SEEN}(?:behind|the (?:back|rear))|(?<!quarter )(?<!quarters )(?:back|rear)[- ]view|"
    r"(?:facing|turned) away from the (?:camera|viewer)|(?:his|her|their|the) back to(?:wards?)? the (?:camera|viewer)"
)
_LOOK = r"(?:fac(?:es|ing)|look(?:s|ing)|gaz(?:es|ing)|star(?:es|ing))"
_TURN = r"(?:turn(?:s|ed|ing)?|angled|rotated|angle(?: is|:)?|head(?: is)?|face)"
_FACE = r"(?:expression|face|look|gaze|stare|demeanou?r|mood)"
_CALM = (
    r"neutral|calm|composed|relaxed|pensive|thoughtful|contemplative|serene|tranquil|peaceful|focused|concentrated|"
    r"attentive|determined|reserved|blank|resting"
)
_ARMS = (
    r"arms (?:[\w-]+ ){0,2}?(?:extended|outstretched|stretched|spread|raised|held|out)(?: [\w-]+){0,2}? "
    r"(?:sideways|horizontally|at shoulder height|to (?:the|both|either|his|her|their) sides?)"
)


def _angles(side: str, turn: str) -> Mapping[str, str]:
    """Returns the patterns of the two angles of a side, and of the turns to it."""
    return {
        f"profile-{side}": rf"(?:{_PROFILE})(?:-|{_FORTH},? ){turn}|{side}[- ](?:facing |side |hand )*(?:{_PROFILE})|"
        rf"(?:{_LOOK}|{_TURN}) {_SLIGHTLY}{side}(?: side)?,? (?:in |a |full |side )*+profile",
        f"half-{side}": rf"half[- ]{turn}|(?:{_HALF})(?:-|{_FORTH},? ){turn}|{side}[- ](?:{_HALF})|"
        rf"{_TURN} {_SLIGHTLY}{turn}",
    }


def _behind(side: str, turn: str) -> Mapping[str, str]:
    """Returns the pattern of a head that is seen from behind and to a side."""
    to = rf",? (?:(?:with |the |head |facing |turned |looking |slightly )*+to the {turn}|facing {turn})"
    return {f"back-{side}": rf"(?:{_BEHIND}){to}|(?:{_HALF}) (?:back|rear)(?:[- ]view)?(?:-|{_FORTH},? ){turn}"}


# axis -> its readers; the first that finds a value gives it
READERS: Mapping[str, tuple[Reader, ...]] = {
    "angle": (
        Reader({**_behind("left", _LEFT), **_behind("right", _RIGHT), "back": _BEHIND}),
        Reader({**_angles("left", _LEFT), **_angles("right", _RIGHT)}),
        Reader({"front": rf"front(?:al)?(?:[- ](?:view|head|angle|face|facing|on|shot|portrait|pose)|{_END})"}),
        Reader(
            {
                "half-left": rf"{_LOOK} {_SLIGHTLY}{_LEFT}|left[- ]facing",
                "half-right": rf"{_LOOK} {_SLIGHTLY}{_RIGHT}|right[- ]facing",
                "front": rf"(?:{_LOOK}|{_TURN}) (?:(?:straight|directly|right|up|down|towards?|at|into|to|the) )*+"
                rf"(?:camera|viewer|lens)(?!')|{_LOOK} (?:(?:straight|directly) )*+(?:forwards?|ahead)|"
                r"(?:head|straight)[- ]on",
            }
        ),
    ),
    "expression": (
        Reader(
            {
                "smiling": r"smil(?:e|es|ing)|grin(?:s|ning)?|laugh(?:s|ing|ter)?|smirk(?:s|ing)?|"
                r"chuckling|giggling|happ(?:y|ily|iness)|cheer(?:y|ful|fully)|joy(?:ful|fully|ous)?|jovial|gleeful|"
                r"beaming|delighted|amused|elated|ecstatic",
                "angry": r"angr(?:y|ily)|anger|annoyance|scowl(?:s|ing)?|furious(?:ly)?|glar(?:es|ing)|frown(?:s|ing)?|"
                r"enraged|rag(?:e|ing)|irate|outraged|fuming|snarl(?:s|ing)?|sneering|hostile|aggressive|irritated|annoyed|"
                r"shout(?:s|ing)?|yelling",
                "sad": r"sad(?:ly|ness)?|cry(?:ing)?|unhappy|sorrow(?:ful)?|melanchol(?:y|ic)|"
                r"tear(?:s|ful|y|-streaked)|weeping|sobbing|grief|grieving|heartbroken|upset|miserable|"
                r"despondent|forlorn|glum|gloomy|dejected|mournful|sombre|somber",
            }
        ),
        Reader(
            {
                "neutral": rf"(?<!is )(?<!are )(?<!a )neutral{_END}|(?:{_CALM})(?:,? [\w-]+){{0,2}}? {_FACE}|"
                rf"expression(?::| is) (?:[\w-]+ )?(?:{_CALM})|"
                r"(?:calm|thoughtful|pensive|contemplative)(?= *[,;.]| *$)|serious|stern|severe|solemn|stoic|impassive|"
                r"expressionless|emotionless|inexpressive|unsmiling|indifferent|deadpan|"
                r"(?:straight|poker) face|(?:no|without)(?: any| visible)* (?:expression|emotion)"
            }
        ),
        Reader(
            {
                "angry": r"furrowed brows?|(?:eye)?brows furrowed|clenched (?:jaw|teeth)",
                "sad": r"downturned (?:mouth|lips)",
            }
        ),
    ),
    "pose": (
        Reader({"T-pose": rf"t[- ]pose|{_ARMS}"}),
        Reader({"sitting": r"sit(?:s|ting)?(?! room)|seated|perched", "standing": r"stand(?:s|ing)?(?! lamp)"}),
    ),
    "framing": (
        Reader(
            {
                "full body": r"(?:full|whole|entire)[- ](?:body|figure)|(?:full|wide|long)[- ]shot|"
                r"full[- ]length(?! (?:mirror|dress|gown|coat|skirt))|head[- ]to[- ](?:toe|feet)",
                "bust": r"bust(?: shot)?|(?:upper|half)[- ]body|(?:half|bust)[- ](?:figure|length)|"
                r"(?:waist|chest|hips?|thighs?|knees?)[- ]up|cropped at the (?:waist|chest|hips?)|"
                r"mid(?:dle)?[- ](?:shot|length)|three[- ]quarter[- ](?:length|shot)|(?:cowboy|american) shot|"
                r"medium[- ](?:shot|framing|view|close[- ]?up|(?:full|wide|long)[- ]shot)",
                "head": r"head[- ]?shot|head[- ](?:and|&)[- ]shoulders?|(?:shoulders?|neck)[- ]up|face portrait|"
                r"close[- ]?up|(?:close|tight)[- ](?:crop|shot|framing)",
            }
        ),
        Reader(
            {
                "head": r"portrait(?! (?:mode|orientation|lighting|photography|style|on|hang))"
                r"(?![^,;.]{0,60}\b(?:sit|seat|stand|walk|kneel))"
            }
        ),
    ),
    "outfit": (
        Reader({"": rf"(?:(?:wearing|wears|dressed in|clad in) |(?:clothes|clothing|outfit|attire){_IS}){_AFTER}"}),
        Reader({"": rf"({_known('outfit')})"}),
    ),
    "background": (
        Reader({"": rf"{_BEFORE} (?:in the )?(?:background|backdrop)"}),
        Reader({"": rf"(?:background|backdrop)(?:{_IS}| of | with | shows ){_AFTER}"}),
        Reader({"": rf"in (?:an? |the )?({_known('background')})"}),
    ),
    "light": (
        Reader({"": rf"{_BEFORE} (?:lighting|light{_END})"}),
        Reader({"": rf"light(?:ing)?{_IS}{_AFTER}"}),
    ),
    "style": (Reader({"": rf"({_known('style')})[- ](?:drawing|picture|style|painting|sketch)"}),),
    "elevation": (
        Reader(
            {
                "eye level": r"(?:at |from )eye[- ]level|eye[- ]level (?:shot|view|angle)",
                "low": rf"low[- ]angle|low camera angle|{_SEEN}(?:slightly |far )?below|worm's[- ]eye",
                "elevated": rf"{_SEEN}slightly above|(?:slightly )?elevated (?:angle|shot|view)|slightly high[- ]angle",
                "high": rf"high[- ]angle|high camera angle|{_SEEN}(?:high |far )?above|bird's[- ]eye|"
                r"(?:overhead|top[- ]down) (?:angle|shot|view)",
            }
        ),
    ),
}

# axis -> the words with which a caption names its part of this axis, as in "pose: standing"
_LABELS: Mapping[str, tuple[str, ...]] = {
    "angle": ("angle",),
    "expression": ("expression",),
    "pose": ("pose",),
    "framing": ("framing", "shot"),
    "outfit": ("clothes", "clothing", "outfit", "attire"),
    "background": ("background", "setting"),
    "light": ("light", "lighting"),
    "style": ("style",),
    "elevation": ("elevation",),
}
_LABEL = re.compile(rf"(?=\b(?:{'|'.join(each for words in _LABELS.values() for each in words)}){_IS})")
# What a caption denies, what it says of the eyes and the body, faces without a value, and a front that is no angle.
_ASIDE = re.compile(
    r"\b(?:(?:not|no|without|never|neither|nor|isn't)(?: (?:an?|any|the|hint|trace|sign|of|visible))*+ "
    r"(?!expression|emotion)[\w'-]+(?: or [\w'-]+)?|"
    rf"(?:eyes?|gaze|(?<!full[ -])(?<!whole )(?:upper )?body|torso|shoulders)(?: (?:is|are|slightly))* "
    rf"(?:turned|angled|rotated|facing|looking|directed) {_SLIGHTLY}(?:left|right)?|"
    r"(?:worried|concerned|puzzled|confused|surprised|shocked|startled|scared|fearful|disgusted)(?:,? [\w-]+){0,2}? "
    rf"{_FACE}(?: with [^,;.]*)?|in front of)"
)


def read_tags(caption: str) -> Tags:
    """Returns the tags that a caption names, from axis to value (such as pose -> sitting).

    An axis that the caption does not name is left out. Where the caption names its parts, as in "pose: standing", an
    axis is read from its own part first.
    """
    text = _ASIDE.sub("", " ".join(composed(caption).lower().replace("’", "'").split()))
    parts = _LABEL.split(text)
    tags: Tags = {}
    for axis, readers in READERS.items():
        passages = (*(part for part in parts if part.startswith(_LABELS[axis])), text)
        values = (reader.read(passage) for passage in passages for reader in readers)
        if value := next(filter(None, values), ""):
            tags[axis] = value
    return tags
