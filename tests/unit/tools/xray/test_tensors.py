"""What is said of a tensor."""

import numpy as np

from conch_tools.xray.tensors import SHOWN_CHARACTERS, SHOWN_IMAGE_BYTES, as_sent, facts_of

PNG = b"\x89PNG\r\n\x1a\n" + b"rest"


def test_numbers_have_a_range_that_leaves_out_what_is_no_number() -> None:
    facts = facts_of("x", "FP32", np.array([[1.0, np.nan, 3.0], [2.0, np.inf, 2.0]], dtype=np.float32))
    assert facts.described == "FP32 [2, 3]"
    assert (facts.size_bytes, facts.nan, facts.infinite) == (24, 1, 1)
    assert facts.range is not None
    assert (facts.range.minimum, facts.range.maximum) == (1.0, np.inf)
    assert facts.sample == ("1", "nan", "3", "2", "inf", "2")


def test_halves_do_not_overflow_in_the_mean() -> None:
    facts = facts_of("x", "FP16", np.full(1000, 60000, dtype=np.float16))
    assert facts.range is not None
    assert facts.range.mean == 60000 - 60000 % 32
    assert facts.left_out == 992


def test_nothing_has_no_range() -> None:
    assert facts_of("x", "FP32", np.empty((0, 3), dtype=np.float32)).range is None
    assert facts_of("x", "FP32", np.array([np.nan])).range is None


def test_texts_are_read_and_bytes_that_are_none_are_spelt() -> None:
    facts = facts_of("t", "BYTES", np.array([["naïve"], [b"na\xc3\xafve"], [b"\xff\x00"]], dtype=object))
    assert facts.sample == ("naïve", "naïve", "ff 00")
    assert facts.size_bytes == 6 + 6 + 2 + 3 * 4


def test_a_long_text_is_cut() -> None:
    (sample,) = facts_of("t", "BYTES", np.array(["x" * 10_000], dtype=object)).sample
    assert len(sample) == SHOWN_CHARACTERS
    assert sample.endswith("x…")


def test_what_a_terminal_would_obey_is_written_as_its_escape() -> None:
    assert facts_of("t", "BYTES", np.array(["\x1b]0;x\x07"], dtype=object)).sample == ("\\x1b]0;x\\x07",)


def test_encoded_images_are_kept_to_be_shown_unless_they_are_large() -> None:
    facts = facts_of("image", "BYTES", np.array([PNG, PNG + b"0" * SHOWN_IMAGE_BYTES, b"GIF89a"], dtype=object))
    assert facts.images == (("png", PNG), ("gif", b"GIF89a"))
    assert facts.sample[0] == f"png image, {len(PNG)} bytes"


def test_texts_are_sent_on_as_bytes_so_that_none_is_taken_for_a_file_name() -> None:
    sent = as_sent(np.array([["/etc/hostname"], ["a\x00"]], dtype=object))
    assert sent.tolist() == [[b"/etc/hostname"], [b"a\x00"]]
    numbers = np.arange(3)
    assert as_sent(numbers) is numbers
