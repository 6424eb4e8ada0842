"""Rules about one config.pbtxt as a whole: it parses, it has its folder's name, and the server knows its fields."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from conch_tools.check.findings import Place, Problem, Severity
from conch_tools.check.pbtxt import Mark
from conch_tools.check.repository import Model, Repository
from conch_tools.check.rulebook import Rulebook

SYNTAX = Rulebook[Model](lambda repository: repository)
"""The one rule for configurations that cannot be read; all others look at those that can."""


def with_config(repository: Repository) -> Iterable[Model]:
    """Every model whose config.pbtxt is there and can be read."""
    return (model for model in repository.readable if model.config_file is not None)


CONFIG = Rulebook[Model](with_config)

_NEWER_FIELDS = {
    ("model_metrics",): "24.11",
    ("ensemble_scheduling", "max_inflight_requests"): "25.11",
}
"""Fields that the embedded server (2.51, release 24.10) does not know, with the release that brought them."""


@SYNTAX.rule("CFG001", Severity.ERROR)
def unparsable(model: Model) -> Iterator[Problem]:
    """A config.pbtxt is no valid protobuf text of a model configuration.

    Triton reads the file with the same strict parser: at the first unknown field, value or misplaced sign it
    gives up and the model is not even listed. It reads a number that stands for no value of an enum, and then does not
    know what to do with it.

    Bad in `embed/config.pbtxt`:

        max_batchsize: 8

    Good:

        max_batch_size: 8
    """
    if model.config_file is not None and (fault := model.unparsable) is not None:
        yield Problem(Place(model.config_file, fault.line, fault.column), fault.sentence, fault.cure)


@CONFIG.rule("CFG002", Severity.ERROR)
def name_differs_from_folder(model: Model) -> Iterator[Problem]:
    """The name in config.pbtxt differs from the folder's.

    Triton finds models by folder and refuses one that calls itself something else.

    Bad in `sentiment/config.pbtxt`:

        name: "sentiments"

    Good:

        name: "sentiment"
    """
    name = model.config.name
    if name and name != model.name:
        cure = f'write `name: "{model.name}"`, or remove the line: the folder gives the name'
        yield Problem(model.place(model.marks.at("name")), f"`{name}` stands in folder `{model.name}`", cure)


@CONFIG.rule("CFG012", Severity.ERROR)
def newer_than_the_server(model: Model) -> Iterator[Problem]:
    """A field is newer than the embedded server.

    Tritonserver 2.51 (release 24.10) does not know the field, so it cannot parse the file and does not list
    the model.

    Bad in `embed/config.pbtxt`:

        max_batch_size: 8
        model_metrics { }

    Good:

        max_batch_size: 8
    """
    for path, release in _NEWER_FIELDS.items():
        mark: Mark | None = model.marks
        for name in path:
            mark = mark.at(name) if mark is not None and name in mark.fields else None
        if mark is not None:
            what = f"`{'.'.join(path)}` came with release {release}; the embedded server is 24.10"
            yield Problem(model.place(mark), what, "remove it, or keep it for servers of that release")
