"""The `conch` command: options in, one call, a sentence and an exit code out. The work is in the modules it calls.

Each command imports what it calls when it is run, so that `conch check` pays for no server.
"""
