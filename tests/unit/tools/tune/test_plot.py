"""The picture is well-formed, holds every point, and no name can break out of it."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from conch_tools.tune.figures import Traffic
from conch_tools.tune.plot import HEIGHT, WIDTH, throughput_against_latency

BEFORE = [Traffic(1, 60.0, 15.0, 20.0), Traffic(16, 290.0, 50.0, 110.0)]
AFTER = [Traffic(1, 62.0, 15.0, 19.0), Traffic(16, 340.0, 45.0, 90.0)]
SVG = "{http://www.w3.org/2000/svg}"


def drawn(title: str = "embed") -> ElementTree.Element:
    return ElementTree.fromstring(throughput_against_latency({"before": BEFORE, "after": AFTER}, title))


def test_every_point_is_drawn_inside_the_picture_with_its_requests_in_flight() -> None:
    picture = drawn()
    points = [each for each in picture.iter(f"{SVG}circle") if each.get("r") == "4"]
    assert len(points) == len(BEFORE) + len(AFTER)
    assert all(0 < float(each.get("cx", 0)) < WIDTH and 0 < float(each.get("cy", 0)) < HEIGHT for each in points)
    texts = [each.text for each in picture.iter(f"{SVG}text")]
    assert texts.count("16") == 2
    assert {"before", "after", "requests/s", "p99 latency, ms"} <= set(texts)


def test_more_throughput_is_higher_and_more_latency_further_right() -> None:
    first, *_, last = [each for each in drawn().iter(f"{SVG}circle") if each.get("r") == "4"]
    assert float(last.get("cy", 0)) < float(first.get("cy", 0))
    assert float(last.get("cx", 0)) > float(first.get("cx", 0))


def test_a_title_is_text_whatever_it_holds() -> None:
    assert "<script> & co" in [each.text for each in drawn("<script> & co").iter(f"{SVG}text")]
