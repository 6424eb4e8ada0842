"""A server that notices its own dead parts and heals them while everything else keeps serving.

Triton 2.51 reports a model as ready whose Python process is dead, and an ensemble that it unloaded in silence is just
gone. So the supervisor asks: every pipeline's own sample requests, with the answers that pipeline.toml expects, are its
golden requests (`golden`). The `healer` watches processes and asks; what is not well it looks into model by model
(`diagnosis`, by what each pipeline `needs`) and gives to the `mender`, which loads it anew (`repair`, over `control`)
until it helps, or wishes for a new tritonserver. What happens goes into the `journal`: `health` for probes, `metrics`,
lines for people. Readiness follows the golden requests (`endpoint`), so a load balancer sends nothing to a server whose
answers are wrong.
"""
