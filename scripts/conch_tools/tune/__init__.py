"""`conch tune`: settings of a whole ensemble that answer more requests a second on this machine.

Nothing about a machine can be told from a configuration, and the steps of an ensemble compete for the same cores, so a
setting is judged by what the pipeline as a whole does under load, and explained by what Triton counted meanwhile.

    space          what can be set, within what this machine has and what the pipeline has promised (pure)
    configs, plan  settings in a ModelConfig; those of a pipeline, as it is served now
    traffic        the requests that are sent, and who sends them; perf_analyzer is another sender
    server         a server of its own that is given one candidate after the other
    figures        what a turn under load measured (pure)
    search         which candidate to measure next, and which of them to believe (pure)
    explain        sentences from the figures (pure)
    profile        the files configs/<profile>.pbtxt
    outcome, report, plot   the result as values, on the screen, and as a picture
    run            all of it in order: `conch tune`
    grid, versus   every point of a part of the space, and a tuning held against the best of them: `conch bench`
"""
