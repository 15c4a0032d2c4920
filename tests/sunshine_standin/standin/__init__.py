"""A stand-in for Sunshine: same command line, ports, answers and log lines, no video at all."""

VERSION = "2026.516.143833+standin"
"""The Sunshine whose behaviour is shown, and that this is not it."""
