"""The `conch` command: build, check, serve and measure a Triton model repository."""

SERVER_VERSION = "2.51.0"
"""What the tritonserver of the pinned wheel calls itself."""
