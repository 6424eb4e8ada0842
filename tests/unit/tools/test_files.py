"""Files of figures are refused before the work, and written whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

import conch_tools.cli.main  # noqa: F401 # enters the commands
from conch_tools.cli.app import app
from conch_tools.errors import SettingsError
from conch_tools.files import require_writable, write_json, write_whole

COMMANDS = {
    "parity": ["parity", "digits", "--output"],
    "xray": ["xray", "digits", "--html"],
    "gpu-check": ["gpu-check", "--output"],
    "bench peers": ["bench", "peers", "--output"],
    "bench heal": ["bench", "heal", "--output"],
    "bench grid": ["bench", "grid", "digits", "--output"],
    "bench tune": ["bench", "tune", "digits", "--grid", "grid.json", "--output"],
    "tune": ["tune", "digits", "--output"],
    "tune's plot": ["tune", "digits", "--plot"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_refuses_a_file_that_cannot_be_written_before_it_works(command: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [*COMMANDS[command], str(tmp_path / "nowhere" / "file")])
    assert isinstance(done.exception, SettingsError)
    assert "nowhere/file cannot be written" in str(done.exception)


def test_a_folder_and_a_file_in_a_folder_of_others_are_refused(tmp_path: Path) -> None:
    require_writable(tmp_path / "new.json")
    with pytest.raises(SettingsError, match="cannot be written"):
        require_writable(tmp_path)
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o500)
    with pytest.raises(SettingsError, match="cannot be written"):
        require_writable(tmp_path / "new.json")


def test_a_file_is_replaced_whole_and_a_link_stays_one(tmp_path: Path) -> None:
    file, link = tmp_path / "figures.json", tmp_path / "link.json"
    write_json(file, {"rate": 1.5, "unit": "µs"})
    link.symlink_to(file)
    first = file.open(encoding="utf-8")
    write_whole(link, "second")
    with first:
        # Whoever has it open reads on in what was there.
        assert first.read() == '{\n "rate": 1.5,\n "unit": "µs"\n}\n'
    assert (file.read_text(), link.is_symlink()) == ("second", True)
    assert sorted(tmp_path.iterdir()) == [file, link]


def test_a_device_is_written_into() -> None:
    require_writable(Path(os.devnull))
    write_whole(Path(os.devnull), "figures")
    assert not Path(os.devnull).is_file()
