"""`conch parity`: how far what is served is off from its reference libraries, or from something else that is served."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from conch_tools.build.builder import builder_of
from conch_tools.build.reference import Item
from conch_tools.build.workers import in_workers
from conch_tools.errors import SettingsError
from conch_tools.parity.corpus import Corpus, inputs_of, read_corpus
from conch_tools.parity.verdict import Verdict
from conch_tools.parity.with_another import Other, compare_with_another
from conch_tools.parity.with_reference import compare_with_references
from conch_tools.pipelines import Pipeline, load_pipelines
from conch_tools.serve import Report, require_repository
from conch_tools.settings import Settings


def parity(
    settings: Settings, names: Sequence[str], every: bool, corpus_file: Path | None, other: Other, report: Report
) -> list[Verdict]:
    """Compare the pipelines named, or `every` one, with their references or with `other`, on their own corpora or on
    the inputs in a file.

    Raises SettingsError for arguments that do not go together, CorpusError for a line that is no input, and what
    `compare_with_references` and `compare_with_another` raise.
    """
    _require_sense(names, every, corpus_file, other)
    require_repository(settings)
    served = load_pipelines(settings.repository, names)
    pipelines = [each for each in served if every or each.name in names]
    corpora: dict[str, Corpus] = {}
    if corpus_file is not None:
        corpora = {each.name: read_corpus(corpus_file, inputs_of(each.folder / "config.pbtxt")) for each in pipelines}
    if other == Other():
        return compare_with_references(settings, pipelines, served, corpora, report)
    if corpus_file is None:
        made = in_workers(corpus_of, {each.name: (each,) for each in pipelines})
        corpora = {name: Corpus(items) for name, items in made}
    return compare_with_another(settings, pipelines, served, corpora, other, report)


def corpus_of(pipeline: Pipeline) -> Sequence[Item]:
    """A pipeline's own corpus. Runs in a worker process."""
    return builder_of(pipeline).corpus()


def _require_sense(names: Sequence[str], every: bool, corpus_file: Path | None, other: Other) -> None:
    if bool(names) == every:
        raise SettingsError("name the pipelines to compare, or say --all")
    if len(names) != 1 and (corpus_file is not None or other.name is not None):
        option = "--against" if corpus_file is None else "--corpus"
        raise SettingsError(f"{option} is for one pipeline: name one")
    if other.profile is not None and (other.url is not None or other.name is not None):
        raise SettingsError("--against-profile is the same pipeline, on a server of its own: leave out --against")
