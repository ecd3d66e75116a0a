"""Golden gradients: for each op of the catalogue two files from which an implementation in any language can be tested.

`writing` evaluates and verifies the cases of an op; `checking` compares files with the ops again. Both use `cases`, what a case
gives; `encoding` of trees as JSON, `files` with bytes that are always the same, and `schema` for the form of the JSON. `history`
names the published bugs that a case catches. The package does not import JAX.
"""
