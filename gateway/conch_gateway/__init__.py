"""The app behind the edge: the role of this package is fixed here, its routes are not written yet.

Nothing in Conch imports it today; docs/architecture.md says what belongs here and what stays with Triton and Envoy.
"""
