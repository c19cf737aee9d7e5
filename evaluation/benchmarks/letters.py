"""Reading the option that an answer names: "B", "b) left", "the answer is **B**", "答案是B".

The README of this folder gives the error rates on real outputs ("Letters in real outputs").

In the patterns below, "@" stands for an option's letter as the group `letter`, "@a" for a letter of either case, and
"%s" for the letters themselves.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from string import ascii_uppercase

from evaluation.benchmarks.plain import plain

_QUOTED = re.compile(r"['‘]([A-Za-z])['’]")
_FORMS = str.maketrans("【】[]{}。、", "()()()..", "“”")
_DRESS = " \t\n.,:;!?()<>-#_'"

# A letter that is not part of a word, of a name ("A.M.", "N/A") or of a possessive ("A's"), in any Latin script.
_START = r"(?<![A-Za-z0-9À-ɏ.'’/&])\(?"
_END = r"(?![A-Za-z0-9À-ɏ/&]|['’]\w|\.\w\b)\)?"
_CAPITAL = rf"{_START}(?P<letter>[%s]){_END}"
_EITHER_CASE = rf"{_START}(?P<letter>[%s]|[%a](?=\)|\s*(?:[.,;:!\n]|$))){_END}"

_THING = r"(?:point|image|picture|photo|box|region|object|circle|marker)"
_ANSWER = (
    r"\b(?P<final>final\s+)?(?:(?:correct|right|best|only|my|chosen|appropriate|suitable|most\s+\w+)\s+)*"
    r"(?<!each )(?<!every )(?<!which )(?:answer|choice|option|selection)(?:\s+(?:here|to\s+(?:the|this)\s+question))?"
)
_IS = (
    r"(?:\s*(?:=>|[:=→–—-])\s*|\s+(?:(?:would|should|must|will)\s+)?(?:be|is)\b"
    r"(?:\s+(?:(?:most\s+)?likely|probably|clearly|definitely|certainly|actually|therefore|thus|indeed))?\s*:?\s*)"
)
_KIND = rf"(?:(?:the\s+)?(?:option|choice|letter|answer|{_THING})\b\s*:?\s*)?"
_STATED = (
    rf"(?i:{_ANSWER}{_IS}{_KIND})@a",
    r"(?i:\banswer\s+)@",
    r"(?:答案(?:应该|应|就)?(?:是|为|选|:)?|而是|正确的?(?:选项|答案)?(?:是|为):?|(?<!不)(?:应该?|故|我)?选(?:择|项?是)?)\s*@a",
)
"""A letter that is called the answer."""
_CHOSEN = (
    rf"(?i:\b(?:choose|select|pick|go\s+with|going\s+with|opt\s+for)\s+{_KIND})@",
    rf"@(?:\s+(?i:{_THING})\s+(?P=letter))?(?:\s+in\s+the\s+\w+)?\s+(?i:is|would\s+be|seems\s+to\s+be|appears\s+to\s+be)"
    r"\s+(?i:(?:the\s+)?(?:most\s+likely\s+)?"
    r"(?:correct|best|answer\b|right(?=\s*(?:[.,;!)\n]|$|(?:because|since|answer|option|one)\b))))",
    r"@\s*(?:选项|项)?是?(?:正确|对的|答案)",
)
"""A letter that is chosen, or called right."""
_OPTION = (r"(?i:\boption\s+|选项\s*)@", r"@\s*选项")
_NEAREST = (
    r"@(?:,[^.,\n]*,)?\s+(?:is|appears|seems|looks)\s+(?:to\s+be\s+)?(?:(?!not\b|no\b|less\b)\w+\s+)?"
    r"(?:closer|nearer|closest|nearest)(?=\s+(?:to\s+the\s+(?:camera|viewer|observer)|than)\b|\s*(?:[.,;!\n]|$))",
    rf"(?i:\b(?:closer|nearer|closest|nearest)(?:\s+(?:one|{_THING}))?(?:\s+to\s+the\s+(?:camera|viewer))?\s+is\s+(?:{_THING}\s+)?)@",
)
_LABEL = r"\(?(?P<letter>[%s%a])(?:[):]|\.(?=\s|[^\x00-\x7f]|[A-Za-z]{2})|\s+[-–—]\s|,(?=\s))\s*(?=\S)"
_LABEL_OF_LINE = rf"[-•\s]*(?:\d+[.)]\s*)?(?:(?i:option|choice|{_THING})\s+)?\(?(?P<letter>[%s%a])[).:]"
_AND = r"(?:\b(?:and|or)\b|[/&或和])"
_ENUMERATION = (
    r"(?<![A-Za-z0-9À-ɏ.'’/&])\(?[%s]\)?"
    rf"(?:\s*+(?:,\s*+{_AND}|,|{_AND})\s*+(?:(?i:option)\s+)?\(?[%s]\)?(?![A-Za-z0-9À-ɏ'’]))++"
)
_LISTING = (r"\)", r"\.", ":")
_VERB = re.compile(r"\s*\b(?:is|was|has|lies|does)\b")
_ENDS = re.compile(r"\s*(?:[.;:)\n]|$)")
_IN_BRACKETS = r"\((?P<letter>[%s](?:(?:\s|,|/|&|and\b|or\b)+[%s])*)\)"
_THING_IN_BRACKETS = rf"(?i:{_THING})\s\((?P<letter>[%s])\)"

_DENIED = re.compile(
    r"(?:\b(?:not|nor|neither|than)|n't)\s+(?:(?:option|choice)\s+)?\(?$|\b(?:neither|none\s+of)\b[^.,:;\n]*$"
    r"|不(?:是|选|为)\s*\(?$",
    re.IGNORECASE,
)
_DENIED_AFTER = re.compile(
    r"\s+(?:is|was|does|do|can|could|would)(?:n't|\s*not)\b|\s+(?:is|would be)\s+(?:wrong|incorrect)\b"
    r"|\s*(?:选项)?是?(?:不对|不正确|错)"
)
_HYPOTHETICAL = re.compile(r"\b(?:if|whether|unless|not|cannot)\b|n't\b", re.IGNORECASE)
_CORRECTED = re.compile(
    r"(?:^|[.,;!?\n—-])\s*(?:no|wait|actually|sorry|correction|hold on|on second thought|hmm|instead|rather)\b"
    r"|不对|等等|更正",
    re.IGNORECASE,
)
_GOES_ON = (
    "and appears as at because but does for has if in is looks on or seems since so that to was which while with would"
)
_SHAPED = re.compile(r"-[a-z]")
"""The text after the letter of "a D-shaped table"."""
_ARTICLE = re.compile(rf"A(?=\s+(?!(?:{_GOES_ON.replace(' ', '|')})\b)[A-Za-z])|I(?=[\s'’])")
"""An English article or pronoun, unless the text before it says that it is a letter."""
_BEFORE_LETTER = re.compile(
    rf"(?:\b(?:{_THING}|option|choice|answer|letter|labell?ed|marked)\s+\(?|\()$", re.IGNORECASE
)
_BEFORE_PLACE = re.compile(
    r"(?:\b(?:position|place|spot|location|room|view|pose|frame|person|player|robot|camera)\s+"
    r"|\b(?:at|in|on|from|near|behind|beside|inside|outside|around|towards?)\s+(?:[a-z]+\s+)?)\(?$",
    re.IGNORECASE,
)
"""Text before a letter that is the name of a place ("from position A")."""
_UNDECIDED = re.compile(
    r"\b(?:neither|none\s+of|impossible|not\s+possible|(?:cannot|can't|can\s+not)\s+(?:be\s+)?(?:tell|say|determine))",
    re.I,
)
_ALSO = r"[^.;\n]*?(?:,|\bor|\band)\s+(?:option\s+)?\((?P<letter>[%s])\)(?!\s+(?:is|was|has|lies|does)\b)"
"""Text after a letter that names another one as well ("(A) the second or (B) the third")."""
_ANSWER_IS = re.compile(rf"{_ANSWER}{_IS}", re.IGNORECASE)

_OTHER = ""
"""A rule's result for something that is not an option's letter."""
_WINDOW = 120
"""Characters before a letter that are searched for what it is."""
_LONG_WORDS = 50
"""A longer explanation that never repeats the letter before it often argues for another option."""


def read_letter(answer: str, num_options: int) -> str | None:
    """The option that an answer names, or None.

    The first rule that finds a letter decides; two different letters count as none. The rules: nothing but a letter
    ("(b)."); a letter that is called the answer ("The answer is B"), chosen or called right ("I choose (B)", "B is
    correct"); a letter alone on the first line, before its option ("B. left", "b) left") or on the last line; the only
    one in brackets; the only "option B"; "point B is closer"; the only single capital that is not an article or the
    name of a place. Lists of options ("A. left", next line "B. right"; "A, B or C") and denied letters ("not A") name
    nothing.
    """
    letters = ascii_uppercase[:num_options]
    text = _plain(answer)
    for find in _RULES:
        if found := set(find(text, letters)):
            letter = found.pop()
            return letter if not found and letter and letter in letters else None
    return None


def _plain(answer: str) -> str:
    """The answer without markup and quotation marks, and with round brackets for all kinds of brackets."""
    return _QUOTED.sub(r"\1", plain(answer)).replace('"', "").translate(_FORMS).strip()


def _without_lists(text: str, letters: str) -> str:
    """The text without lists of options: lines with ascending labels ("A. …", "(B) …"), and "A, B or C"."""
    label = _compiled(_LABEL_OF_LINE, letters)
    kept: list[str] = []
    listed: list[str] = []
    last = ""
    for line in text.split("\n"):
        found = label.match(line)
        letter = found["letter"].upper() if found else ""
        if listed and letter > last:
            listed.append(line)
        elif line.strip() or not listed:
            kept += listed if len(listed) == 1 else []
            listed = [line] if letter else []
            kept += [] if letter else [line]
        last = letter or (last if listed else "")
    kept += listed if len(listed) == 1 else []
    return _compiled(_ENUMERATION, letters).sub(_unless_of_one, "\n".join(kept)).strip()


def _unless_of_one(match: re.Match[str]) -> str:
    """Removes "A, B or C", and "A, B" at the end of a sentence, which name no option; keeps "B, A is wrong"."""
    goes_on = _VERB.match(match.string, match.end())
    is_list = not goes_on if re.search(_AND, match[0]) else _ENDS.match(match.string, match.end())
    return " " if is_list else match[0]


def _bare(text: str, letters: str) -> Sequence[str]:
    bare = text.strip(_DRESS).upper()
    return [bare] if len(bare) == 1 and bare in letters else []


def _stated(text: str, letters: str) -> Sequence[str]:
    found = _named(_STATED, text)
    found = [match for match in found if match.groupdict().get("final")] or found
    if len({_letter(match) for match in found}) > 1:
        *_, first, last = found
        if _CORRECTED.search(last.string, first.end(), last.start()):
            found = [last]
    # "The second image (B) fits. So the answer is (A)": it contradicts itself.
    things = _compiled(_THING_IN_BRACKETS, letters).finditer(text) if found else ()
    others = (_compiled(_ALSO, letters).match(match.string, match.end()) for match in found)
    return [_letter(match) for match in (*found, *others, *things) if match]


def _chosen(text: str, letters: str) -> Sequence[str]:
    found = [_letter(match) for match in _named(_CHOSEN, text)]
    return [*found, *_bracketed(text, letters)] if found else []


def _first_line(text: str, letters: str) -> Sequence[str]:
    head, _, rest = text.partition("\n")
    letter = _bare(head, letters)
    if letter and len(rest.split()) > _LONG_WORDS and letter[0] not in _alone(rest, letters):
        return [_OTHER]
    return letter


def _labelled(text: str, letters: str) -> Sequence[str]:
    """The label at the beginning of a text, and labels of the same form after it ("(A) left (B) right")."""
    text = _without_lists(text, letters)
    first = _compiled(_LABEL, letters).match(text)
    if first is None:
        return []
    form = re.escape(text[: first.start("letter")]), re.escape(text[first.end("letter")])
    labels = re.finditer(rf"(?<!\S){form[0]}(?P<letter>[{letters}]){form[1]}(?=\s+\S)", text[first.end() :])
    listed = (label for label in labels if _lists(text[first.end() :], label))
    return [_letter(first), *map(_letter, listed)] if form[1] in _LISTING else [_letter(first)]


def _lists(text: str, label: re.Match[str]) -> bool:
    """Whether a label in a text belongs to a list, and not to a sentence ("… than point A. Point B …")."""
    before = text[max(0, label.start() - _WINDOW) : label.start("letter")]
    return not (_BEFORE_LETTER.search(before.rstrip("(")) or _VERB.match(text, label.end()))


def _last_line(text: str, letters: str) -> Sequence[str]:
    _, _, tail = _without_lists(text, letters).rpartition("\n")
    letter = _bare(tail, letters) or _labelled(tail, letters)
    return [*letter, *_bracketed(text, letters)] if letter else []


def _bracketed(text: str, letters: str) -> Sequence[str]:
    found = _compiled(_IN_BRACKETS, ascii_uppercase).finditer(text)
    return [sign for match in found if not _is_denied(text, match) for sign in match["letter"] if sign.isupper()]


def _called_option(text: str, letters: str) -> Sequence[str]:
    return [_letter(match) for match in _named(_OPTION, text)]


def _nearest(text: str, letters: str) -> Sequence[str]:
    return [_letter(match) for match in _named(_NEAREST, text)]


def _alone(text: str, letters: str) -> Sequence[str]:
    if _ANSWER_IS.search(text) or _UNDECIDED.search(text):
        return [_OTHER]
    matches = (match for match in _compiled("@", letters).finditer(text) if not _SHAPED.match(text, match.end()))
    found = (match for match in matches if _is_meant(text, match))
    return [_OTHER if _is_place(text, match.start("letter")) else _letter(match) for match in found]


_RULES: tuple[Callable[[str, str], Sequence[str]], ...] = (
    _bare,
    _stated,
    _chosen,
    _first_line,
    _labelled,
    _last_line,
    _bracketed,
    _called_option,
    _nearest,
    _alone,
)
"""The rules in order. Each returns the letters that it finds, possibly of no option ("The answer is (E)")."""


def _named(patterns: Sequence[str], text: str) -> list[re.Match[str]]:
    """All matches that name a letter, in order; articles, denied letters and lists are left out."""
    text = _without_lists(text, ascii_uppercase)
    matches = [match for pattern in patterns for match in _compiled(pattern, ascii_uppercase).finditer(text)]
    return sorted((match for match in matches if _is_meant(text, match)), key=lambda match: match.start("letter"))


def _is_meant(text: str, match: re.Match[str]) -> bool:
    start = match.start("letter")
    if _ARTICLE.match(text, start) and not _BEFORE_LETTER.search(text[max(0, start - _WINDOW) : start]):
        return False
    before = text[max(0, match.start() - _WINDOW) : match.start()]
    clause = before[max(map(before.rfind, ".\n!?;,")) + 1 :] + match[0]
    return not (_HYPOTHETICAL.search(clause) or _is_denied(text, match))


def _is_denied(text: str, match: re.Match[str]) -> bool:
    start = match.start("letter")
    return bool(_DENIED.search(text[max(0, start - _WINDOW) : start]) or _DENIED_AFTER.match(text, match.end()))


def _letter(match: re.Match[str]) -> str:
    return match["letter"].upper()


def _is_place(text: str, start: int) -> bool:
    return _BEFORE_PLACE.search(text[max(0, start - _WINDOW) : start]) is not None


@lru_cache(maxsize=256)
def _compiled(pattern: str, letters: str) -> re.Pattern[str]:
    pattern = pattern.replace("@a", _EITHER_CASE).replace("@", _CAPITAL)
    return re.compile(pattern.replace("%s", letters).replace("%a", letters.lower()))
