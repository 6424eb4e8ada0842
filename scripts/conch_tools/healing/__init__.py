"""A server that notices its own dead parts and heals them while everything else keeps serving.

Triton 2.51 reports a model as ready whose Python process is dead, and an ensemble that it unloaded in silence is just
gone. So the supervisor asks: every pipeline's own sample requests, with the answers that pipeline.toml expects, are its
golden requests. What fails them is looked into model by model (`diagnosis`), loaded anew (`repair`), and asked again.
What cannot be healed that way gets a new tritonserver. Readiness follows the golden requests (`endpoint`), so a load
balancer sends nothing to a server whose answers are wrong.
"""
