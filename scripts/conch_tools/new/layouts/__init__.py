"""What `conch new` lays out for each task: a module a modality, each with what it reads from a source."""

from __future__ import annotations

from collections.abc import Mapping

from conch_tools.new.layouts import images, tables, texts
from conch_tools.new.layouts.layout import Facts, Layout
from conch_tools.pipelines import Task

__all__ = ["LAYOUTS", "Facts", "Layout"]

LAYOUTS: Mapping[Task, Layout] = {**texts.LAYOUTS, **tables.LAYOUTS, **images.LAYOUTS}
