"""The `conch` command: build, check, serve and measure a Triton model repository."""
