"""`conch new`: the folders of a pipeline, from six answers and a model.

What is written reads as if written by hand, is what `conch check`, `conch build` and `conch serve` take as it is, and
is the user's from then on: nothing reads the templates again.
"""
