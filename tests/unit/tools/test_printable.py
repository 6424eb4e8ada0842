"""What strangers wrote is shown, and neither a terminal nor a page obeys it."""

from __future__ import annotations

from conch_tools.printable import in_html, printable


def test_what_a_terminal_would_obey_is_written_as_its_escape() -> None:
    assert printable("a\x1b[2Jb\n\u202ec\x00\ud800") == "a\\x1b[2Jb\\n\\u202ec\\x00\\ud800"
    assert printable("naïve 雪 …") == "naïve 雪 …"


def test_what_a_page_would_take_for_markup_is_text() -> None:
    assert in_html('<b>\x1b"') == "&lt;b&gt;\\x1b&quot;"
