"""Rules about what happens when Triton loads a model.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from conch_tools.check import Finding

Check = Callable[[Mapping[str, str | bytes]], list[Finding]]

CONFIG = """\
backend: "python"
input { name: "x" data_type: TYPE_FP32 dims: [ 4 ] }
output { name: "y" data_type: TYPE_FP32 dims: [ 4 ] }
"""
ENVIRONMENT = 'parameters { key: "EXECUTION_ENV_PATH" value { string_value: "$$TRITON_MODEL_DIRECTORY" } }'
NAME = 'parameters { key: "tokenizer" value { string_value: "org/net-base" } }'
EXECUTE = "    def execute(self, requests):\n        return self.pool.answer(requests)\n"
UTILITIES = "import triton_python_backend_utils as pb_utils\n"
MODEL = f"class TritonPythonModel:\n{EXECUTE}"


def load(statement: str) -> str:
    return f"{MODEL}\n    def initialize(self, args):\n        {statement}\n"


def found(check: Check, source: str, more: str = "", **files: str) -> list[tuple[str, int | None]]:
    others = {f"m/1/{name}.py": content for name, content in files.items()}
    findings = check({"m/config.pbtxt": CONFIG + more, "m/1/model.py": source, **others})
    return [(finding.code, finding.line) for finding in findings]


@pytest.mark.parametrize(
    ("source", "findings"),
    [
        (MODEL + "    def f(self:\n", [("PYS001", 4)]),
        (MODEL + "    try:\n        pass\n     except ValueError:\n        pass\n", [("PYS001", 6)]),
        ("\0", [("PYS001", None)]),
        ("\n", [("PYS002", None)]),
        ("class TritonPythonmodel:\n" + EXECUTE, [("PYS002", None)]),
        ("\nclass TritonPythonModel:\n    def exec(self, requests): ...\n", [("PYS003", 2)]),
        ("import no_such_package.part\n" + MODEL, [("PYS004", 1)]),
        ("from no_such_package import x\n" + MODEL, [("PYS004", 1)]),
        ("from triton_python_backend_utils import Tensor\n" + MODEL, [("PYS007", 1)]),
        (UTILITIES + "class Refused(pb_utils.TritonModelException): ...\n" + MODEL, [("PYS007", 2)]),
        (UTILITIES + "log = pb_utils.Logger\n" + MODEL, [("PYS007", 2)]),
        (UTILITIES + MODEL + "    def f(self, r: list[pb_utils.InferenceRequest]): ...\n", [("PYS007", 5)]),
        (UTILITIES + MODEL + "    def f(self) -> pb_utils.Tensor: ...\n", [("PYS007", 5)]),
        (load("os.system('pip install torch')"), [("PYS005", 6)]),
        (load("subprocess.check_call([sys.executable, '-m', 'pip', 'install', 'torch'])"), [("PYS005", 6)]),
        (load("subprocess.run(f'conda install -y {name}', shell=True)"), [("PYS005", 6)]),
        (load("self.net = AutoModel.from_pretrained('org/net')"), [("PYS006", 6)]),
        (load("self.net = transformers.pipeline('summarization', model='org/net')"), [("PYS006", 6)]),
        (load("self.net = SentenceTransformer('all-MiniLM-L6-v2')"), [("PYS006", 6)]),
        (load("snapshot_download(repo_id='org/net')"), [("PYS006", 6)]),
    ],
)
def test_what_stands_in_the_way_of_a_load_is_found(
    check: Check, source: str, findings: list[tuple[str, int | None]]
) -> None:
    assert found(check, source) == findings


@pytest.mark.parametrize(
    "source",
    [
        "from base import *\n",
        "from base import TritonPythonModel\n",
        "from base import Model\nclass TritonPythonModel(Model):\n    pass\n",
        "import base\nTritonPythonModel = base.Model\n",
        "class TritonPythonModel:\n    execute = answer\n",
        "class TritonPythonModel:\n    pass\nTritonPythonModel.execute = answer\n",
        "class TritonPythonModel(metaclass=Meta):\n    pass\n",
        "@answering\nclass TritonPythonModel:\n    pass\n",
        "class TritonPythonModel:\n    def __getattr__(self, name):\n        return getattr(model, name)\n",
        "import os, sys\nsys.path.append(os.path.join(os.sep, 'opt', 'src'))\nimport no_such_package\n" + MODEL,
        f"class TritonPythonModel:\n  if answer:\n{EXECUTE}",
        "TritonPythonModel, unused = models()\n",
        "exec(decrypted)\n",
        "import os, json, base\nfrom . import base\n" + MODEL,
        "try:\n    import no_such_package\nexcept ImportError:\n    no_such_package = None\n" + MODEL,
        "if TYPE_CHECKING:\n    import no_such_package\n" + MODEL,
        "from triton_python_backend_utils import triton_string_to_numpy\n" + MODEL,
        UTILITIES + "FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL\n" + MODEL,
        UTILITIES + MODEL + "    def f(self, r: 'pb_utils.Tensor'): ...\n",
        "from __future__ import annotations\n" + UTILITIES + MODEL + "    def f(self, r: pb_utils.Tensor): ...\n",
        UTILITIES + "make = lambda x: pb_utils.Tensor('y', x)\n" + MODEL,
        UTILITIES + MODEL + "    def f(self):\n        def g(x: pb_utils.Tensor): ...\n",
        UTILITIES + "try:\n    log = pb_utils.Logger\nexcept AttributeError:\n    log = None\n" + MODEL,
        load("os.system('ls')"),
        load("subprocess.run(['pip', 'list'])"),
        load("self.net = AutoModel.from_pretrained(args['model_repository'])"),
        load("self.net = AutoModel.from_pretrained('/models/org/net')"),
        load("self.net = AutoModel.from_pretrained('./net-base')"),
        load("self.net = AutoModel.from_pretrained('tokenizer')"),
        load("self.net = AutoModel.from_pretrained('org/net', revision='1f2e3d')"),
        load("self.net = AutoModel.from_pretrained('org/net', local_files_only=True)"),
        load("self.net = self.pipeline(prompts, model_input)"),
        'PATTERN = "\\d"\n' + MODEL,
    ],
)
def test_what_loads_or_may_load_is_right(check: Check, source: str) -> None:
    assert found(check, source, base="") == []


@pytest.mark.parametrize(
    ("name", "more", "findings"),
    [
        ("config['parameters']['tokenizer']['string_value']", NAME, [("PYS006", 6)]),
        ("self.parameters.get('tokenizer', {}).get('string_value', 'org/other')", NAME, [("PYS006", 6)]),
        ("self.parameters.get('tokenizer', {}).get('string_value', 'org/other')", "", [("PYS006", 6)]),
        ("self.parameters['tokenizer']['string_value']", NAME.replace("org/net-base", "/models/net"), []),
        ("self.parameters['tokenizer']['string_value']", "", []),
    ],
)
def test_a_name_on_a_hub_can_come_from_the_configuration(
    check: Check, name: str, more: str, findings: list[tuple[str, int]]
) -> None:
    assert found(check, load(f"self.net = AutoModel.from_pretrained({name})"), more) == findings


def test_an_environment_of_its_own_has_packages_and_a_python_of_its_own(check: Check) -> None:
    for source in ("import no_such_package\n" + MODEL, "match = 1\nprint match\n"):
        assert found(check, source) != []
        assert not any(code.startswith("PYS") for code, _ in found(check, source, ENVIRONMENT))


def test_a_fault_of_a_source_is_told_once_whatever_the_profiles(check: Check) -> None:
    files = {"m/config.pbtxt": CONFIG, "m/configs/gpu.pbtxt": CONFIG, "m/1/model.py": "class TritonPythonModel: pass"}
    assert [finding.code for finding in check(files)] == ["PYS003"]
