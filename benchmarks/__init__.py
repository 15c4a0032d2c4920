"""How fast it is, each figure beside a baseline of the same run; ``./dev bench`` runs it.

Runs on the development cluster's head, as root. docs/performance.md says what is measured and how.
"""
