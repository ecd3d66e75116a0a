"""Says whether a hand-written gradient is right, with two witnesses: central differences and JAX.

>>> import numpy as np
>>> def cube(x):
...     return x**3, x
>>> def cube_bwd(x, dy):
...     return (2 * x**2 * dy,)
>>> row = verify((cube, cube_bwd), np.array([1.0, 2.0])).rows[0]
>>> print(row.verdict, row.diagnosis.split(" everywhere")[0])
FAIL constant factor: x is 0.666667 times the true gradient
"""

from oracle.row import Row, Verdict
from oracle.spec import Case, Deviation, Draw, Error, Flag, Spec, composed, library
from oracle.verification import Verification, verify, verify_case

__all__ = [
    "Case",
    "Deviation",
    "Draw",
    "Error",
    "Flag",
    "Row",
    "Spec",
    "Verdict",
    "Verification",
    "composed",
    "library",
    "verify",
    "verify_case",
]
