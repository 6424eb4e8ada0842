"""Faults of public repositories, rebuilt small: what is wrong is found at its file and line, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest

from conch_tools.check import check_repository

REPOSITORIES = Path(__file__).with_name("anti_patterns")
NOT_INSTALLED = "PYS004"
"""Whether a package is there depends on the machine."""

FAULTS = {
    "batches_by_accident": {
        (
            "completion/1/model.py",
            "PYR005",
            'tensor = pb_utils.Tensor("completion", np.array(answers, dtype=object))',
        ),
        ("completion/1/model.py", "PYR004", "responses.append(pb_utils.InferenceResponse(output_tensors=[tensor]))"),
        ("thumbnail/1/model.py", "PYR009", "pixels = np.squeeze(photo.as_numpy()).transpose((2, 0, 1))"),
    },
    "errors_misread": {
        ("studio/1/model.py", "PYC003", "if encoded.has_error():"),
        ("text_spotter/1/model.py", "PYR010", 'cv2.imwrite("scores.png", scores[0] * 255)'),
        ("text_spotter/1/model.py", "PYR010", 'np.save("boxes.npy", boxes)'),
        ("text_spotter/1/model.py", "PYR010", 'with open("/tmp/spotted.log", "a") as log:'),
    },
    "first_one_only": {
        ("story/1/model.py", "PYR008", 'story = f"{beginnings[0]}, and they lived happily ever after."'),
        ("shout/1/model.py", "PYR003", 'texts = pb_utils.get_input_tensor_by_name(requests[0], "QUIET").as_numpy()'),
        ("story_aloud/1/config.pbtxt", "FIL010", ""),
        ("story_aloud", "BAK001", ""),
    },
    "names_that_drift": {
        ("words/1/model.py", "PYS006", "self.tokenizer = AutoTokenizer.from_pretrained(name)"),
        ("tags/1/model.py", "PYR012", 'idx_to_class = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC"]'),
    },
}


@pytest.mark.parametrize("name", FAULTS)
def test_the_faults_of_a_public_repository_are_found_and_nothing_else(name: str) -> None:
    findings = [each for each in check_repository(REPOSITORIES / name) if each.code != NOT_INSTALLED]
    found = {
        (
            each.file.relative_to(REPOSITORIES / name).as_posix(),
            each.code,
            "" if each.line is None else each.file.read_text().splitlines()[each.line - 1].strip(),
        )
        for each in findings
    }
    assert found == FAULTS[name]


def test_the_check_that_reads_the_wrong_response_is_the_second_one() -> None:
    (finding,) = (each for each in check_repository(REPOSITORIES / "errors_misread") if each.code == "PYC003")
    assert finding.what == "`encoded.has_error()` is asked, but the new response is `decoded`"
    assert (finding.line, finding.cure) == (23, "did you mean `decoded.has_error()`?")
