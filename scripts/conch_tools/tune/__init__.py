"""`conch tune`: settings of a whole ensemble that answer more requests a second on this machine.

Nothing about a machine can be told from a configuration, and the steps of an ensemble compete for the same cores, so a
setting is judged by what the pipeline as a whole does under load, and explained by what Triton counted meanwhile.

    space      what can be set, within what this machine has and what the pipeline has promised (pure)
    configs    settings in a ModelConfig, read and written (pure)
    traffic    the requests that are sent, and who sends them
    server     a server of its own that is given one candidate after the other
    search     which candidate to measure next, and which of them to believe (pure)
    explain    sentences from the figures (pure)
    profile    the files configs/<profile>.pbtxt
    plot       throughput against latency, as SVG (pure)
    run        all of it in order: `conch tune`
    grid       every point of a stated part of the space, and the search held against the best of them
"""
