"""``moonlight doctor``: what a site may have got wrong, and how to mend each.

A check is a function of a ``Site`` that yields ``Finding`` values: green, yellow or red, with a
sentence, and for what is not green a second one that says how to mend it. ``examine`` runs them;
nothing here changes anything, except that the check of a node runs a short job.
"""

from moonlight_core.doctor.examine import CHECKS, examine
from moonlight_core.doctor.finding import Finding, Grade
from moonlight_core.doctor.site import Site

__all__ = ["CHECKS", "Finding", "Grade", "Site", "examine"]
