"""A Python model's source as facts, read by its syntax and never run.

`source` parses a file once and knows its functions, `names` what a name stands for, `requests` what becomes of the
requests that `execute` gets, `rounds` whether each of them is answered, `tensors` which tensors are read and made,
`calls` what is asked of other models.

All of it is cautious: what cannot be told for certain is left out, so that a rule says nothing of it.
"""
