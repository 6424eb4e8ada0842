"""For every test: the settings of the shell that runs the tests do not reach the code under test."""

from __future__ import annotations

import os

import hypothesis

# Done here and not in a fixture, because some tests read the settings while they are collected.
for name in [name for name in os.environ if name.startswith("CONCH_")]:
    del os.environ[name]

# A machine that also runs servers and linters is slow at times; pytest-timeout ends a test that hangs.
hypothesis.settings.register_profile("conch", deadline=None)
hypothesis.settings.load_profile("conch")
