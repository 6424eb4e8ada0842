"""Measurements: what the running system reaches, beside what others reach on the same machine in the same run.

A figure alone says little: machines differ and are shared. So contenders take turns round by round, ratios are formed
within a round, and what is reported are medians with their range, the machine, the versions and how busy other
processes kept it.
"""
