"""Reading yes or no, or a region, from an answer: "Answer: Yes", "不是", "Region 2 is wider than it"."""

import re

from evaluation.benchmarks.plain import plain

_END = r"(?![A-Za-z])"
_YES = (
    rf"(?:(?:yes|yeah|yep|correct|true|indeed|affirmative|right(?=\s*(?:[.,!]|$))){_END}"
    r"|是(?!否|不是)的?|对(?!于|比|面|称)的?|正确|没错)"
)
_NO = (
    rf"(?:(?:no(?!\s+(?:doubt|question|wonder))|nope|incorrect|false|negative|wrong(?=\s*(?:[.,!]|$))){_END}"
    r"|不(?!错)(?:是|对|正确)?|并[不非]|否|没有|错误?)"
)
_ANSWER = (
    r"(?:\b(?:answer|conclusion)\b(?:\s+to\s+(?:the|this|your)\s+question)?\s*(?:(?:is|would be|should be)\b|[:=])?"
    r"|答案(?:应该)?(?:是|为|:)?)\s*:?\s*[\"'“(]*\s*"
)
_STATED_YES = re.compile(rf"{_ANSWER}{_YES}", re.IGNORECASE)
_STATED_NO = re.compile(rf"{_ANSWER}{_NO}", re.IGNORECASE)
_OPENS_YES = re.compile(
    rf"\W*(?:{_YES}|that(?: is|['’]s) (?:true|correct|right)\b|(?:it|they|this|that) (?:is|are|does|do)\W*$)",
    re.IGNORECASE,
)
_OPENS_NO = re.compile(rf"\W*(?:{_NO}|that(?: is|['’]s) (?:false|incorrect|wrong)\b)", re.IGNORECASE)
_OPENS_CONTRARY = re.compile(r"\W*(?:in fact|actually)\b", re.IGNORECASE)
"""Openings of SpatialRGPT-Bench's sentences that deny what was asked."""
_SAID_YES = re.compile(r"\b(?:yes|indeed)\b|\b(?:statement|claim|this|that|it) is (?:true|correct)\b", re.IGNORECASE)
_SAID_NO = re.compile(
    r"(?:^|[,.:;!?\n]|\b(?:say|is))\W*no(?=\W*(?:[,.;!\n]|$))"
    r"|\b(?:statement|claim|this|that|it) is (?:false|incorrect|not (?:true|correct))\b",
    re.IGNORECASE,
)
_BOTH = re.compile(
    r"\byes\W*(?:(?:or|and)\b|[/,])?\W*no\b(?=\W*$|\W*\n|\s*\?)|\byes(?:\s*/\s*|\s+(?:or|and)\s+)no\b", re.IGNORECASE
)
"""The options of the question, repeated."""
_DENIES = re.compile(r"(?<!, )\bnot\b(?! (?:by|only|just)\b)|n['’]t\b", re.IGNORECASE)
_REFUSES = re.compile(
    r"\b(?:I|we|unclear|unable|impossible|not (?:possible|clear|sure|certain|visible))\b", re.IGNORECASE
)
_CLAUSE_END = re.compile(r"[.;\n]|,?\s*\b(?:al)?though\b|,?\s*\bbut\b", re.IGNORECASE)

_NUMBER = r"[\[#_]?\s*[0-9]{1,2}(?![0-9A-Za-z]|\.[0-9]|\s*(?:[cmk]?m|met(?:er|re)s?|ft|feet|foot|inch(?:es)?)\b)\s*\]?"
REGIONS = re.compile(
    rf"(?:\bregions?|区域)\s*{_NUMBER}(?:(?:\s*,\s*{_NUMBER})*\s*,?\s*(?:\b(?:and|or)\b|[&和或])\s*{_NUMBER})?",
    re.IGNORECASE,
)
"""Regions by their numbers: "region 1", "Region [0]", "regions 1, 2 and 3"."""
_BARE_NUMBER = re.compile(r"\W*([0-9]{1,2})\W*")
_STATED_REGION = re.compile(
    rf"{_ANSWER}(?:the\s+)?(?:region\s*|区域\s*)?\[?([0-9]{{1,2}})(?![0-9A-Za-z]|\.[0-9])", re.IGNORECASE
)
_ASIDE = re.compile(
    r"(?:\b(?:than|not|relative to|instead of|compared (?:to|with)|unlike)\s+(?:that of\s+)?(?:the\s+)?|比)$",
    re.IGNORECASE,
)
"""Text before a region with which another one is compared."""
_DENIED_AFTER = re.compile(r"\s*\b(?:is|are|was|does|do|has|can)(?:n['’]t|\s+not)\b", re.IGNORECASE)
_AMONG = re.compile(
    rf"\b(?:between|of|among|comparing)\s+(?:the\s+)?(?:regions?\s*{_NUMBER}\s*(?:and|or)\s*(?:region\s*)?{_NUMBER})",
    re.IGNORECASE,
)


def read_yes_or_no(answer: str) -> str | None:
    """ "yes" or "no", or None.

    In this order: what is called the answer; how the answer opens ("Actually, …" denies what was asked); a yes
    or no between commas ("Based on the image, yes, …"); a first clause that denies ("It is not …") is a no. Repeated
    options ("Yes or no") are neither.
    """
    text = _BOTH.sub(" ", plain(answer)).strip()
    is_yes, is_no = bool(_STATED_YES.search(text)), bool(_STATED_NO.search(text))
    if not (is_yes or is_no):
        is_yes, is_no = bool(_OPENS_YES.match(text)), bool(_OPENS_NO.match(text))
    if not (is_yes or is_no):
        is_yes, is_no = bool(_SAID_YES.search(text)), bool(_SAID_NO.search(text))
    if is_yes != is_no:
        return "yes" if is_yes else "no"
    if is_yes:
        return None
    clause = _CLAUSE_END.split(text, maxsplit=1)[0]
    is_denial = _OPENS_CONTRARY.match(text) or (_DENIES.search(clause) and not _REFUSES.search(clause))
    return "no" if is_denial else None


def read_region(answer: str) -> str | None:
    """The region that an answer names, as "region 2", or None; a bare number names a region, too.

    It is the region that is called the answer; otherwise the only one that is named, apart from those that it is
    compared with ("Region 2 is wider than region 1").
    """
    text = _AMONG.sub(" ", plain(answer))
    if bare := _BARE_NUMBER.fullmatch(text):
        return f"region {int(bare[1])}"
    named = set(_STATED_REGION.findall(text))
    if not named:
        meant = (match for match in REGIONS.finditer(text) if not _is_aside(text, match))
        named = {number for match in meant for number in re.findall(r"[0-9]+", match[0])}
    return f"region {int(named.pop())}" if len(named) == 1 else None


def _is_aside(text: str, match: re.Match[str]) -> bool:
    before = text[max(0, match.start() - 40) : match.start()]
    return bool(_ASIDE.search(before) or _DENIED_AFTER.match(text, match.end()))
