"""The offline check of a Triton model repository: what Triton would refuse or answer wrongly, found without a
server.

    findings = check_repository(Path("model_repository"), Path("python_backends"))
    print(render(findings))

The way through the package: `repository` reads the folders into immutable values (`pbtxt` gives each field
its line, `backends` and `completion` fill in what Triton would, `wiring` joins an ensemble's steps), the
functions in `rules` look at these values, `run` sorts what they find, `report` prints it. `rulebook` says how
to write a rule.
"""

from conch_tools.check.findings import Finding, Severity
from conch_tools.check.report import has_errors, render
from conch_tools.check.run import check_repository

__all__ = ["Finding", "Severity", "check_repository", "has_errors", "render"]
