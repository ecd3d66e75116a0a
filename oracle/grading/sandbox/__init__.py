"""What runs in the process of the submission. It imports the standard library and NumPy alone, and nothing of `oracle`.

The process sees this package under the name `sandbox`, so that `oracle` is never imported there: no judge and no expected
number is in it.
"""
