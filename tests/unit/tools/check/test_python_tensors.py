"""Rules about the tensors that a model.py names. The body of `execute` begins in line 6 of the source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from conch_tools.check import Finding, check_repository

Check = Callable[[Mapping[str, str | bytes]], list[Finding]]
CheckSource = Callable[..., list[tuple[str, int | None]]]

SOUND = """
responses = []
for request in requests:
    x = pb_utils.get_input_tensor_by_name(request, "x")
    responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("y", x.as_numpy())]))
return responses
"""
BY_NAME = "pb_utils.get_input_tensor_by_name"
TENSOR = 'pb_utils.Tensor("y", x.as_numpy())'
READ = 'x = pb_utils.get_input_tensor_by_name(request, "x")'
READ_ALL = "for name in self.names:\n        x = pb_utils.get_input_tensor_by_name(request, name)"
OPTIONAL = """\
backend: "python"
input { name: "x" data_type: TYPE_FP32 dims: [ 4 ] optional: true }
output { name: "y" data_type: TYPE_FP32 dims: [ 4 ] }
"""
STATEFUL = """
sequence_batching {
  control_input { name: "start" control { kind: CONTROL_SEQUENCE_START fp32_false_true: [ 0, 1 ] } }
}
"""


@pytest.mark.parametrize(
    ("before", "after", "rest"),
    [
        ("", "", ""),
        ('"x"', "NAME", "NAME = 'x'\n"),
        ('"x"', "self.name", "    name = 'x'\n"),
        ('"x"', "self.name", "    def initialize(self, args):\n        self.name = 'x'\n"),
        ('"x"', "self.names[0]", "    def initialize(self, args):\n        self.names = args\n"),
        ('"x"', "f'{self.prefix}x'", ""),
        (READ, "x = request.inputs()[0]", ""),
        (READ, "x = {t.name(): t for t in request.inputs()}['x']", ""),
        (READ, "for name in ('x',):\n        x = pb_utils.get_input_tensor_by_name(request, name)", ""),
        (READ, "x = self.read(request)", f"    def read(self, r):\n        return {BY_NAME}(r, 'x')\n"),
        (READ, "x = self.reader.read(request)", ""),
        ('pb_utils.Tensor("y", x.as_numpy())', "self.pack(x)", ""),
        ('[pb_utils.Tensor("y", x.as_numpy())]', "[pb_utils.Tensor(n, x) for n in self.names]", ""),
        (READ, f"{READ}\n    gone = {BY_NAME}(request, 'z')\n    if gone is None: pass", ""),
        (READ, f"{READ}\n    try:\n        {BY_NAME}(request, 'z').as_numpy()\n    except AttributeError: pass", ""),
        ("    responses", "    torch.Tensor('z')\n    responses", ""),
        ("responses = []", "responses = []\ntest = pb_utils.Tensor('t', None)", ""),
        (READ, READ_ALL, "    def initialize(self, args):\n        self.names = []\n        self.names.append(args)\n"),
        (READ, READ_ALL, "    names = ['z']\n    def initialize(self, args):\n        self.names[:] = args\n"),
        ('"x"', "NAME", "NAME = 'z'\ndef configure(args):\n    global NAME\n    NAME = args\n"),
        ('"x"', "NAME", "NAME = 'z'\nmatch config:\n    case {'name': NAME}: pass\n"),
        ('"x"', "NAME", "try:\n    from config import NAME\nexcept ImportError:\n    NAME = 'z'\n"),
        ('"x"', "self.name", "    name = 'z'\n    def initialize(self, args):\n        setattr(self, 'name', args)\n"),
        ('"x"', "self.name", "    name = 'z'\n    def initialize(self, args):\n        setattr(self, *args)\n"),
        ('"x"', "self.name", "    name = 'z'\n    def initialize(self, args):\n        self.__dict__.update(args)\n"),
        ('"x"', "spec.name", "@dataclass\nclass Spec:\n    name: str = 'z'\nspec = Spec(name='x')\n"),
    ],
)  # fmt: skip
def test_tensors_by_their_names_and_those_whose_names_nobody_can_tell_are_right(
    check_source: CheckSource, before: str, after: str, rest: str
) -> None:
    assert check_source(SOUND.replace(before, after, 1), rest=rest) == []


@pytest.mark.parametrize(
    ("before", "after", "rest", "findings"),
    [
        ('"x"', '"X"', "", [("PYT001", 8)]),
        ('"x"', "NAME", "NAME = 'X'\n", [("PYT001", 8)]),
        ('"x"', "self.name", "    name = 'X'\n", [("PYT001", 8)]),
        (READ, "x = self.q(request)", f"    def q(self, r):\n        return {BY_NAME}(r, 'q').T\n",
         [("PYT001", 12), ("PYT003", 3)]),
        ('"y"', '"Y"', "", [("PYT002", 9)]),
        (READ, "x = self.constant", "", [("PYT003", 3)]),
        ('"y"', '"answer"', "", [("PYT002", 9), ("PYT004", 4)]),
        ("\n", "\npb_utils.get_output_config_by_name(self.config, 'Y')['data_type']\n", "", [("PYT005", 6)]),
        ("x.as_numpy()", "x.as_numpy().astype(np.float64)", "", [("PYT007", 9)]),
        ("x.as_numpy()", "np.array([b'x'], dtype=object)", "", [("PYT007", 9)]),
    ],
)  # fmt: skip
def test_names_that_are_not_in_the_configuration_are_errors(
    check_source: CheckSource, before: str, after: str, rest: str, findings: list[tuple[str, int]]
) -> None:
    assert check_source(SOUND.replace(before, after, 1), rest=rest) == findings


def test_a_misspelt_name_is_offered_the_input_that_nobody_reads(check: Check) -> None:
    config = 'backend: "python" input { name: "input_%d" data_type: TYPE_FP32 dims: 4 }'
    two = config % 1 + ' input { name: "input_2" data_type: TYPE_FP32 dims: 4 }'
    source = """\
import triton_python_backend_utils as pb

class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        one = pb.get_input_tensor_by_name(request, "input_1").as_numpy()
        two = pb.get_input_tensor_by_name(request, "input_3").as_numpy()
        return pb.InferenceResponse([pb.Tensor("sum", one + two)])
"""
    output = ' output { name: "sum" data_type: TYPE_FP32 dims: 4 }'
    (finding,) = check({"m/config.pbtxt": two + output, "m/1/model.py": source})
    assert (finding.code, finding.line, finding.cure) == ("PYT001", 9, "did you mean `input_2`?")


def test_controls_of_sequences_and_tensors_that_the_model_completes_are_its_own(check_source: CheckSource) -> None:
    reads = SOUND.replace(
        "    responses", "    pb_utils.get_input_tensor_by_name(request, 'start').as_numpy()\n    responses"
    )
    assert check_source(reads, more=STATEFUL) == []
    completes = "    def auto_complete_config(c):\n        c.add_input({'name': 'start'})\n        return c\n"
    assert check_source(reads, rest=completes) == []
    assert check_source(reads) == [("PYT001", 9)]


def test_an_optional_input_is_compared_with_none_before_it_is_used(check_source: CheckSource) -> None:
    assert check_source(SOUND, config=OPTIONAL) == [("PYT006", 2)]
    asked = SOUND.replace("x.as_numpy()", "x.as_numpy() if x is not None else self.default")
    assert check_source(asked, config=OPTIONAL) == []


def test_a_backends_source_is_judged_by_all_models_that_it_serves(repository: Path, backends: Path) -> None:
    config = 'backend: "adder" input {{ name: "{}" data_type: TYPE_FP32 dims: 4 }}'
    source = """\
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        if self.text:
            return pb_utils.get_input_tensor_by_name(request, "text").as_numpy()
        return pb_utils.get_input_tensor_by_name(request, "%s").as_numpy()
"""
    output = ' output { name: "sum" data_type: TYPE_FP32 dims: 4 }'
    (backends / "adder").mkdir()
    for name in ("text", "image"):
        (repository / name / "1").mkdir(parents=True)
        (repository / name / "config.pbtxt").write_text(config.format(name) + output)
    adaptor = backends / "adder" / "model.py"
    adaptor.write_text(source % "image")
    assert check_repository(repository, backends) == []
    adaptor.write_text(source % "imaeg")
    (finding,) = check_repository(repository, backends)
    assert (finding.code, finding.file, finding.line) == ("PYT001", adaptor, 10)
    assert finding.cure == "did you mean `image`?"


def test_what_a_batch_input_would_compute_never_comes(check_source: CheckSource) -> None:
    computed = 'batch_input { target_name: "sizes" data_type: TYPE_INT32 source_input: "x" }'
    sizes = READ.replace("x = ", "sizes = ").replace('"x"', '"sizes"')
    assert check_source(SOUND, more=computed) == [("PYT008", 5)]
    read = SOUND.replace(READ, f"{READ}\n    {sizes}\n    sizes.as_numpy()")
    assert check_source(read, more=computed) == [("PYT001", 9), ("PYT008", 5)]
