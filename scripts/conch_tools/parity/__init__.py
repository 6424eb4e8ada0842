"""Whether two answers are the same, and how far they are off: what `conch build` proves and `conch parity` measures.

`metrics` compares two answers to one case, `figures` sums the cases up and holds them against a gate, `asking` sends
the cases in every way that may change an answer, `steps` finds the first step that differs.
`with_reference` and `with_another` put servers behind them; `corpus` reads what a user wants to have asked, `report`
shows what came out.
"""
