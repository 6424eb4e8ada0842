"""Texts of strangers, for people: what a server answers, or a file is called, may hold anything, and a terminal or a
page obeys some of it."""

from __future__ import annotations

from html import escape


def printable(text: str) -> str:
    """The text on one line, with what moves a cursor, rings or reorders letters written as its escape."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def shortened(text: str, characters: int) -> str:
    """As much of a text as `characters` have room for; a sign stands for the rest."""
    return text if len(text) <= characters else text[: characters - 1] + "…"


def in_html(text: str) -> str:
    """The same within a page, where it is text and nothing else."""
    return escape(printable(text))
