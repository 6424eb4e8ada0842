"""More pipelines than memory: those that were asked last stay, the others leave and come back when they are asked for.

Only with CONCH_MEMORY_BUDGET_MIB. Who was asked `uses` knows, who leaves is a pure `choice`, the `keeper` has Triton do
it, and whoever wants one back waits in `demands`, behind `POST /load/PIPELINE` of the health endpoint.
"""
