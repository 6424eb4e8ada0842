"""Rules about pipeline.toml: what a build and `conch up` read of a pipeline, as far as it can be told without building.

Repositories without a pipeline.toml have nothing to do with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel

from conch_tools.check.findings import Place, Problem, Severity, cure_for_name, listed
from conch_tools.check.repository import Model, Repository
from conch_tools.check.rulebook import Rulebook
from conch_tools.check.toml_lines import line_in, line_of
from conch_tools.errors import PipelineFileError
from conch_tools.pipelines import (
    PIPELINE_FILE,
    Gates,
    Pipeline,
    Sample,
    Source,
    Text,
    circle_of_uses,
    load_pipeline,
)

_GIVEN_BY_THE_FOLDER = ("name", "folder")
_TABLES: Mapping[object, type[BaseModel]] = {"source": Source, "text": Text, "gates": Gates, "samples": Sample}
_UNKNOWN_FIELD = "Extra inputs are not permitted"
_IMAGE = "image"


@dataclass(frozen=True, eq=False)
class PipelineFile:
    """A pipeline.toml and the model that it is about."""

    model: Model
    repository: Repository

    @property
    def path(self) -> Path:
        """The file."""
        return self.model.folder / PIPELINE_FILE

    @cached_property
    def pipeline(self) -> Pipeline | PipelineFileError:
        """What it says, or why it cannot be read."""
        try:
            return load_pipeline(self.model.folder)
        except PipelineFileError as refused:
            return refused

    def place(self, *field: str | int) -> Place:
        """Where a field stands in it, as near as can be told."""
        try:
            return Place(self.path, line_of(self.path.read_text(encoding="utf-8"), field))
        except (OSError, UnicodeDecodeError):
            return Place(self.path)

    @property
    def samples(self) -> Sequence[Sample]:
        """Its sample requests; none where it cannot be read."""
        return self.pipeline.samples if isinstance(self.pipeline, Pipeline) else ()


def pipeline_files(repository: Repository) -> Iterator[PipelineFile]:
    """Every pipeline of the repository."""
    return (
        PipelineFile(model, repository) for model in repository if model.is_file_to_read(model.folder / PIPELINE_FILE)
    )


PIPELINES = Rulebook[PipelineFile](pipeline_files)


@PIPELINES.rule("PIP001", Severity.ERROR)
def pipeline_not_readable(file: PipelineFile) -> Iterator[Problem]:
    """A pipeline.toml cannot be read.

    `conch build`, `up` and `serve` refuse the repository with the first fault that they find.

    Bad in `sentiment/pipeline.toml`:

        task = "sentiment-analysis"

    Good:

        task = "text-classification"
    """
    if isinstance(file.pipeline, PipelineFileError):
        for field, problem in file.pipeline.faults:
            where = f"`{'.'.join(map(str, field))}`: " if field else ""
            line = line_in(problem)
            place = file.place(*field) if line is None else Place(file.path, line)
            yield Problem(place, f"{where}{problem}", _cure(field, problem))


@PIPELINES.rule("PIP002", Severity.ERROR)
def uses_what_is_not_there(file: PipelineFile) -> Iterator[Problem]:
    """A pipeline uses one that is not there, or itself, directly or through others.

    What a pipeline uses is built and served before it; there is no order for a circle.

    Bad in `topics/pipeline.toml`:

        uses = ["embeddings"]

    Good:

        uses = ["embed"]
    """
    if isinstance(file.pipeline, PipelineFileError):
        return
    uses = {each.name: each.uses for each in file.repository.pipelines}
    for used in file.pipeline.uses:
        if used not in uses and not (file.repository.folder / used / PIPELINE_FILE).is_file():
            others = [name for name in uses if name != file.model.name]
            cure = cure_for_name(used, others, "name a folder with a pipeline.toml, or remove it")
            yield Problem(file.place("uses"), f"there is no pipeline `{used}`", cure)
    if circle := circle_of_uses(file.model.name, uses):
        names = " -> ".join(f"`{name}`" for name in circle)
        yield Problem(file.place("uses"), f"the pipeline uses itself: {names}", "remove one of them from `uses`")


@PIPELINES.rule("PIP003", Severity.ERROR)
def sample_of_other_inputs(file: PipelineFile) -> Iterator[Problem]:
    """A sample's inputs are not the inputs that callers send.

    `conch up` and `gpu-check` send the samples to the running pipeline, which refuses such a one.

    Bad in `sentiment/pipeline.toml`:

        input = { txt = "A short and friendly text." }

    Good:

        input = { text = "A short and friendly text." }
    """
    known = {tensor.name: tensor for tensor in file.model.inputs}
    for index, sample in enumerate(file.samples if known else ()):
        misspelt = set(sample.input) - set(known)
        for name in sorted(misspelt):
            cure = cure_for_name(name, known, f"the pipeline's inputs are {listed(known)}")
            place = file.place("samples", index, "input", name)
            yield Problem(place, f"`{name}` of sample {index + 1} is no input of the pipeline", cure)
        missing = [name for name, tensor in known.items() if not tensor.optional and name not in sample.input]
        if missing and not misspelt:
            place = file.place("samples", index, "input")
            yield Problem(
                place, f"sample {index + 1} does not give {listed(missing)}", "add it to the sample's `input`"
            )


@PIPELINES.rule("PIP004", Severity.ERROR)
def sample_expects_other_outputs(file: PipelineFile) -> Iterator[Problem]:
    """A sample expects an output that the pipeline does not give.

    `conch up` compares the answer to each sample with what it expects.

    Bad in `sentiment/pipeline.toml`:

        expect = { lable = "positive" }

    Good:

        expect = { label = "positive" }
    """
    known = [tensor.name for tensor in file.model.outputs]
    for index, sample in enumerate(file.samples if known else ()):
        for name in sample.expect:
            if name not in known:
                cure = cure_for_name(name, known, f"the pipeline's outputs are {listed(known)}")
                place = file.place("samples", index, "expect", name)
                yield Problem(place, f"`{name}`, which sample {index + 1} expects, is no output of the pipeline", cure)


@PIPELINES.rule("PIP005", Severity.ERROR)
def sample_image_missing(file: PipelineFile) -> Iterator[Problem]:
    """The image of a sample is not there.

    `conch up` and `gpu-check` read it from the pipeline's own folder.

    Bad in `photo/pipeline.toml`:

        input = { image = "white.png" }

    Good:

        input = { image = "samples/white.png" }
    """
    for index, sample in enumerate(file.samples):
        if _IMAGE in sample.input and any(tensor.name == _IMAGE for tensor in file.model.inputs):
            image = sample.input[_IMAGE]
            place = file.place("samples", index, "input", _IMAGE)
            if not isinstance(image, str):
                yield Problem(place, f"`{_IMAGE}` of sample {index + 1} is no text", "name a file")
            elif not (file.model.folder / image).is_file():
                cure = f"put it into {file.model.folder}, or name a file that is there"
                yield Problem(place, f"there is no file `{image}`", cure)


@PIPELINES.rule("PIP006", Severity.ERROR)
def gate_that_nothing_passes(file: PipelineFile) -> Iterator[Problem]:
    """A gate asks for what no figure can be.

    A build measures first and compares then: minutes go by before it fails.

    Bad in `sentiment/pipeline.toml`:

        minimum = { accuracy = 0.9 }
        maximum = { accuracy = 0.8 }

    Good:

        minimum = { accuracy = 0.9 }
    """
    if isinstance(file.pipeline, PipelineFileError):
        return
    gates = file.pipeline.gates
    for name in gates.minimum.keys() & gates.maximum.keys():
        if gates.minimum[name] > gates.maximum[name]:
            what = f"`{name}` must be at least {gates.minimum[name]} and at most {gates.maximum[name]}"
            yield Problem(file.place("gates", "minimum", name), what, "lower the minimum, or raise the maximum")


@PIPELINES.rule("PIP007", Severity.ERROR)
def member_without_a_model(file: PipelineFile) -> Iterator[Problem]:
    """A member of a vote has no model.

    The model of the member `m` in the pipeline `p` is `p_m`; a build makes one for each.

    Bad in `sentiment/pipeline.toml`:

        [members]
        modle = 1.0

        [gates]

    Good:

        [members]
        model = 1.0

        [gates]

    Instead of:

        [gates]
    """
    if isinstance(file.pipeline, PipelineFileError):
        return
    models = file.repository.models
    for member in file.pipeline.members:
        if file.pipeline.step(member) not in models:
            roles = [name.removeprefix(f"{file.model.name}_") for name in file.pipeline.models]
            cure = cure_for_name(member, roles, f"add the model `{file.pipeline.step(member)}`, or remove the member")
            yield Problem(file.place("members", member), f"member `{member}` has no model", cure)


def _cure(field: Sequence[str | int], problem: str) -> str:
    if problem != _UNKNOWN_FIELD:
        return "correct it" if field else "correct the file"
    table = _TABLES.get(field[0], Pipeline) if len(field) > 1 else Pipeline
    known = [name for name in table.model_fields if name not in _GIVEN_BY_THE_FOLDER]
    return cure_for_name(str(field[-1]), known, f"remove it; known are {listed(known)}")
