"""The development cluster behind ``./dev``: a real Slurm on one Debian machine, in namespaces.

Only the standard library of Python 3.11 is used: a fresh Debian 12 has nothing else.
"""
