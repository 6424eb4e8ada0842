"""The offline check of a Triton model repository: what Triton would refuse or answer wrongly, found without a
server.

    findings = check_repository(Path("model_repository"), Path("python_backends"))
    print(render(findings))

The way through the package: `repository` reads the folders into immutable values (`pbtxt` gives each field its line,
`backends` and `completion` fill in what Triton would, `wiring` joins an ensemble's steps, `sources` reads each
model.py by its syntax and `adaptors` says which models it serves), the functions in `rules` look at these values,
`run` sorts what they find and `suppression` takes out what the author knows of, `report` and `sarif` print it.
`rulebook` says how to write a rule, `examples` how to show what it is about; `explain` and `docs` tell of both.
`command` is what `conch check` does with its arguments.
"""

from conch_tools.check.findings import Finding, Severity
from conch_tools.check.report import Format, has_errors, render
from conch_tools.check.run import check_repository

__all__ = ["Finding", "Format", "Severity", "check_repository", "has_errors", "render"]
