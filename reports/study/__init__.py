"""The user study: a form for raters, and what their answers say.

``new`` draws the pairs (plan), lists the items under opaque names (key) and writes the form (form).
``score`` reads the files that raters send back (answers), leaves out inattentive ones (screening),
and turns the rest into means with intervals (crossed) and coefficients of agreement (agreement).
"""
